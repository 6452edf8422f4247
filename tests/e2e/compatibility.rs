//! flannel's data in etcd, to the byte: what twill writes for every shape that it has, and what it makes of all that flannel nodes and others write.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, anyhow, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lab::etcd::{Etcd, NEEDS, PREFIX, Plan, place};
use lab::harness::Test;
use lab::{Lab, Node, wait_until};
use serde_json::Value;

use crate::families::underlay_v6;
use crate::on_etcd::{cluster, config};
use crate::story::{SOON, flowing};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("compatibility: every shape of lease is written byte for byte as flannel writes it", written).needs(NEEDS),
    Test::new(
        "compatibility: with IPv6 alone each node has a subnet of its own, and IPv4 nodes of flannel's are not kept from theirs",
        ipv6_alone,
    )
    .needs(NEEDS),
    Test::new("compatibility: leases in all of flannel's shapes are read as it reads them", read).needs(NEEDS),
    Test::new("compatibility: what nobody can read spoils nothing but itself, also at a start", unreadable).needs(NEEDS),
    Test::new("compatibility: nothing that flannel cannot read is ever written below its leases", never_unreadable).needs(NEEDS),
];

const V6: &str = r#""EnableIPv6":true,"IPv6Network":"fd10::/48""#;

/// A network config with these families and this backend.
fn families(families: &str, backend: &str) -> String {
    format!(r#"{{{families},"Backend":{{"Type":"{backend}"}}}}"#)
}

fn written() -> Result<()> {
    let lab = Lab::new("written")?;
    lab.switch().ip("-6 address add fd50::fe/64 dev br0 nodad")?;
    let etcd = Etcd::start(&lab, Plan::plain())?;
    let a = lab.node("a")?;
    a.ip(&format!("-6 address add {}/64 dev eth0 nodad", underlay_v6(&a)))?;
    let (v4, dual) = (r#""Network":"10.50.0.0/16""#, format!(r#""Network":"10.50.0.0/16",{V6}"#));
    let mac = |link: &str| -> Result<String> {
        let links = a.ip_json(&format!("link show dev {link}"))?;
        Ok(links[0]["address"].as_str().context("no address")?.to_owned())
    };
    let (public, public6) = (a.address(), underlay_v6(&a));
    for (family, backend) in
        [(v4, "udp"), (v4, "vxlan"), (v4, "host-gw"), (dual.as_str(), "vxlan"), (dual.as_str(), "host-gw"), (dual.as_str(), "udp")]
    {
        etcd.ctl(&["del", "--prefix", PREFIX])?;
        etcd.config(&families(family, backend))?;
        a.start(etcd.launch())?;
        a.ready(SOON)?;
        let six = if family == v4 { "null".to_owned() } else { format!("\"{public6}\"") };
        let data = match (backend, family == v4) {
            ("udp", _) => String::new(),
            ("host-gw", _) => r#","BackendType":"host-gw""#.into(),
            (_, true) => format!(r#","BackendType":"vxlan","BackendData":{{"VNI":1,"VtepMAC":"{}"}}"#, mac("flannel.1")?),
            (_, false) => format!(
                r#","BackendType":"vxlan","BackendData":{{"VNI":1,"VtepMAC":"{}"}},"BackendV6Data":{{"VNI":1,"VtepMAC":"{}"}}"#,
                mac("flannel.1")?,
                mac("flannel-v6.1")?
            ),
        };
        let wanted = format!(r#"{{"PublicIP":"{public}","PublicIPv6":{six}{data}}}"#);
        let keys = etcd.keys(&format!("{PREFIX}/subnets"))?;
        ensure!(keys.len() == 1, "{keys:?}");
        let subnet = a.subnet()?.replace('/', "-");
        let name = if family == v4 { subnet } else { format!("{subnet}&{}", v6_name(&a)?) };
        ensure!(keys[0] == format!("{PREFIX}/subnets/{name}"), "{} instead of {name}", keys[0]);
        let value = etcd.value(&keys[0])?;
        ensure!(value == wanted, "{backend}: {value} instead of {wanted}");
        ensure!(etcd.term(&keys[0])? == Some(86_400), "{:?}", etcd.term(&keys[0])?);
        forgotten(&a)?;
    }
    // IPv6 alone: flannel's key for it would keep every flannel node from getting an IPv4 subnet, so there is none.
    etcd.ctl(&["del", "--prefix", PREFIX])?;
    etcd.config(&families(&format!(r#""EnableIPv4":false,{V6}"#), "vxlan"))?;
    a.start(etcd.launch())?;
    a.ready(SOON)?;
    ensure!(etcd.keys(&format!("{PREFIX}/subnets"))?.is_empty(), "{:?}", etcd.keys(PREFIX)?);
    let own = etcd.keys(&format!("{PREFIX}/twill/nodes/"))?;
    ensure!(own == [format!("{PREFIX}/twill/nodes/{}", v6_name(&a)?)], "{own:?}");
    Ok(())
}

/// Where flannel's nodes all take the first one's subnet, and its key stands in the way of every IPv4 lease (spec 11, defect 10).
fn ipv6_alone() -> Result<()> {
    let lab = Lab::new("IPv6 alone")?;
    lab.switch().ip("-6 address add fd50::fe/64 dev br0 nodad")?;
    let etcd = Etcd::with_config(&lab, &families(&format!(r#""EnableIPv4":false,{V6}"#), "vxlan"))?;
    let nodes = [lab.node("a")?, lab.node("b")?];
    for node in &nodes {
        node.ip(&format!("-6 address add {}/64 dev eth0 nodad", underlay_v6(node)))?;
        node.ip("-6 route add default via fd50::fe")?;
        node.start(etcd.launch())?;
    }
    for node in &nodes {
        node.ready(SOON)?;
    }
    let names = [v6_name(&nodes[0])?, v6_name(&nodes[1])?];
    ensure!(names[0] != names[1], "both nodes have {}", names[0]);
    ensure!(etcd.keys(&format!("{PREFIX}/subnets"))?.is_empty(), "{:?}", etcd.keys(PREFIX)?);
    let base = names[1].rsplit_once('-').context("no length")?.0.parse()?;
    crate::families::answers(|| nodes[0].net().command("ping"), &[], base)?;
    // A restart finds the same subnet, by the id.
    nodes[0].kill()?;
    nodes[0].start(etcd.launch())?;
    nodes[0].ready(SOON)?;
    ensure!(v6_name(&nodes[0])? == names[0], "{} became {}", names[0], v6_name(&nodes[0])?);
    crate::families::answers(|| nodes[0].net().command("ping"), &[], base)
}

/// The name of a node's IPv6 subnet in keys, such as fd10:0:0:25::-64.
fn v6_name(node: &Node) -> Result<String> {
    let bridge = node.subnet_env("FLANNEL_IPV6_SUBNET")?;
    let (first, length) = bridge.split_once('/').context("no length")?;
    Ok(format!("{}-{length}", Ipv6Addr::from(u128::from(first.parse::<Ipv6Addr>()?) - 1)))
}

/// The daemon is killed, and all that it made and kept goes.
fn forgotten(node: &Node) -> Result<()> {
    node.kill()?;
    for dir in ["run", "lib"] {
        std::fs::remove_dir_all(node.dir(dir))?;
        std::fs::create_dir(node.dir(dir))?;
    }
    for link in ["flannel.1", "flannel-v6.1", "flannel0"] {
        if node.has_link(link) {
            node.ip(&format!("link delete {link}"))?;
        }
    }
    node.ip("route flush proto 73").map(drop)
}

fn read() -> Result<()> {
    let (_lab, etcd, [a], _pods) = cluster(&config("vxlan"), ["a"])?;
    // The examples of the specification (2.3), and how freely flannel reads (0.1).
    let leases = [
        (
            "10.50.101.0-24",
            r#"{"PublicIP":"192.168.50.101","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"aa:f6:b2:bc:81:b1"}}"#,
            true,
        ),
        (
            "10.50.102.0-24&fd10:0:0:25::-64",
            r#"{"PublicIP":"192.168.50.102","PublicIPv6":"fd98::1","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"aa:42:99:be:6f:04"},"BackendV6Data":{"VNI":1,"VtepMAC":"1a:f5:8e:f3:09:40"}}"#,
            true,
        ),
        (
            "10.50.103.0-24",
            r#"{"publicip":"192.168.50.103","BACKENDTYPE":"vxlan","backenddata":{"VtepMAC":"AA:F6:B2:BC:81:B3","VNI":1,"New":[1]},"Colour":{"a":"blue"}}"#,
            true,
        ),
        ("10.50.104.0-24", r#"{"PublicIP":"192.168.50.104","PublicIPv6":null,"BackendType":"host-gw"}"#, true),
        ("10.50.105.0-24", r#"{"PublicIP":"192.168.50.105","PublicIPv6":null}"#, true),
        (
            "10.50.106.0-24",
            r#"{"PublicIP":"192.168.50.106","PublicIPv6":null,"BackendType":"extension","BackendData":"some output"}"#,
            false,
        ),
        (
            "10.50.107.0-24",
            r#"{"PublicIP":"192.168.50.107","PublicIPv6":null,"BackendType":"wireguard","BackendData":{"PublicKey":"AAAA","Port":51820}}"#,
            false,
        ),
        ("10.50.108.0-24", r#"{"PublicIP":"192.168.50.108","PublicIPv6":null,"BackendType":"ipip"}"#, false),
        ("10.50.109.0-24", r#"{"PublicIP":"192.168.50.109","PublicIPv6":null,"BackendType":"ipsec"}"#, false),
        (
            "10.50.110.0-24",
            r#"{"PublicIP":"192.168.50.110","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"nonsense"}}"#,
            false,
        ),
        ("10.50.111.0-24", r#"{"PublicIP":"192.168.50.111","PublicIPv6":null,"BackendType":"vxlan"}"#, false),
    ];
    for (name, value, _) in leases {
        etcd.put_for(86_400, &format!("{PREFIX}/subnets/{name}"), value)?;
    }
    let shown = wait_until("all leases", SOON, || {
        let shown = a.api("leases")?;
        let count = shown.as_array().map_or(0, Vec::len);
        ensure!(count == leases.len() + 1, "{count}: {shown}");
        Ok(shown)
    })?;
    for (number, (name, value, usable)) in leases.iter().enumerate() {
        let subnet = name.split('&').next().unwrap_or_default().replace('-', "/");
        wait_until(&format!("what becomes of {value}"), SOON, || {
            let shown = a.api("leases")?;
            let lease = shown.as_array().into_iter().flatten().find(|lease| lease["subnets"]["v4"] == subnet.as_str());
            let lease = lease.with_context(|| format!("{subnet} is not among {shown}"))?;
            ensure!(lease["public"]["v4"] == format!("192.168.50.{}", 101 + number).as_str() && lease["node"].is_null(), "{lease}");
            ensure!(lease["way"].is_string() == *usable, "{lease}");
            ensure!(*usable || lease["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "nothing is said of why not: {lease}");
            ensure!(a.ip(&format!("route show {subnet}"))?.is_empty() != *usable, "{}", a.ip("route show")?);
            Ok(())
        })?;
    }
    let dual = shown.as_array().into_iter().flatten().find(|lease| lease["subnets"]["v4"] == "10.50.102.0/24");
    ensure!(dual.is_some_and(|lease| lease["subnets"]["v6"] == "fd10:0:0:25::/64" && lease["public"]["v6"] == "fd98::1"), "{dual:?}");
    ensure!(a.api("node")?["store"]["oddities"].as_array().is_some_and(Vec::is_empty), "{}", a.api("node")?);
    Ok(())
}

/// Keys and values that flannel cannot read.
const UNREADABLE: &[(&str, &str)] = &[
    ("subnets/10.50.201.0-24", r#"{"PublicIP":""}"#),
    ("subnets/10.50.202.0-24", r#"{"PublicIP":null}"#),
    ("subnets/10.50.203.0-24", r#"{"PublicIP":"fd00::1"}"#),
    ("subnets/10.50.204.0-24", r#"{"PublicIP":"192.168.50.9","BackendType":7}"#),
    ("subnets/10.50.205.0-24", "not JSON"),
    ("subnets/10.50.206.0-24", ""),
    ("subnets/10.50.207.0", "{}"),
    ("subnets/10.50.300.0-24", "{}"),
    ("subnets/10.50.208.0-24&fd00::g-64", "{}"),
    ("subnets/10.50.209.0-33", "{}"),
    ("subnets/garbage", "x"),
    ("subnets-extra/x", "x"),
];

fn unreadable() -> Result<()> {
    let (lab, etcd, [a, b], [p, q]) = cluster(&config("host-gw"), ["a", "b"])?;
    let stream = flowing(&p, &q)?;
    for (key, value) in UNREADABLE {
        etcd.put(&format!("{PREFIX}/{key}"), value)?;
    }
    let names_all = |node: &Node| {
        wait_until("all of them to be named", SOON, || {
            let odd = node.api("node")?["store"]["oddities"].clone();
            let count = odd.as_array().map_or(0, Vec::len);
            ensure!(count == UNREADABLE.len() && UNREADABLE.iter().all(|(key, _)| odd.to_string().contains(key)), "{odd}");
            Ok(())
        })
    };
    names_all(&a)?;
    names_all(&b)?;
    // A node that starts among them is none the worse, and takes none of their subnets.
    let late = etcd.join(&lab, "late")?;
    names_all(&late)?;
    a.wait_for_lease(late.subnet()?, SOON)?;
    late.wait_for_lease(b.subnet()?, SOON)?;
    ensure!(!UNREADABLE.iter().any(|(key, _)| place(&late.subnet().unwrap_or_default()).ends_with(key)), "{}", late.subnet()?);
    a.kill()?;
    a.start(etcd.launch())?;
    a.ready(SOON)?;
    names_all(&a)?;
    // Put right or taken away they are forgotten.
    for (key, _) in UNREADABLE {
        etcd.ctl(&["del", &format!("{PREFIX}/{key}")])?;
    }
    wait_until("none to be named", 3 * SOON, || {
        let odd = a.api("node")?["store"]["oddities"].clone();
        ensure!(odd.as_array().is_some_and(Vec::is_empty), "{odd}");
        Ok(())
    })?;
    stream.stop()?.nothing_lost()
}

/// All that is written below flannel's leases while nodes come, go, renew, change their backend and address, and use a reservation; judged by a reader made from the
/// specification alone.
fn never_unreadable() -> Result<()> {
    let lab = Lab::new("recorder")?;
    let etcd = Etcd::with_config(&lab, &config("udp"))?;
    let mut recorder = etcd.listen(&["watch", "--prefix", &format!("{PREFIX}/subnets"), "-w", "json"])?;
    let lines = BufReader::new(recorder.stdout.take().context("no output")?);
    let reader = std::thread::spawn(move || lines.lines().map_while(Result::ok).collect::<Vec<String>>());
    etcd.put(&place("10.50.77.0/24"), r#"{"PublicIP":"192.168.50.3"}"#)?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    ensure!(b.address() == Ipv4Addr::new(192, 168, 50, 3), "{}", b.address());
    for node in [&a, &b] {
        node.start(etcd.launch().flags(&["--lease-ttl", "3s"]))?;
        node.ready(SOON)?;
    }
    for backend in ["vxlan", "host-gw", "udp"] {
        etcd.config(&config(backend))?;
        for node in [&a, &b] {
            let type_of = if backend == "udp" { String::new() } else { format!(r#""BackendType":"{backend}""#) };
            wait_until("the lease with the new backend", SOON, || {
                let value = etcd.value(&place(&node.subnet()?))?;
                ensure!(value.contains(&type_of) && (backend != "udp" || !value.contains("BackendType")), "{value}");
                Ok(())
            })?;
        }
    }
    let renewed = etcd.lease_of(&place(&a.subnet()?))?;
    wait_until("a renewal", SOON, || Ok(ensure!(etcd.lease_of(&place(&a.subnet()?))? != renewed)))?;
    let gone = a.subnet()?;
    a.twill(&["release"])?;
    wait_until("the end of the lease", SOON, || Ok(ensure!(etcd.value(&place(&gone)).is_err())))?;
    b.kill()?;
    recorder.kill()?;
    recorder.wait()?;
    let recorded = reader.join().map_err(|_| anyhow!("the recorder panicked"))?;
    let mut writes = 0;
    for line in &recorded {
        let told: Value = serde_json::from_str(line).with_context(|| line.clone())?;
        for event in told["Events"].as_array().into_iter().flatten().filter(|event| event["type"] != 1 && event["type"] != "DELETE") {
            let text =
                |what: &str| Ok::<_, anyhow::Error>(String::from_utf8(STANDARD.decode(event["kv"][what].as_str().context("nothing")?)?)?);
            let (key, value) = (text("key")?, text("value")?);
            flannel_reads_key(&key).with_context(|| key.clone())?;
            // The reservation as its operator wrote it is the only one that is not twill's.
            if value != r#"{"PublicIP":"192.168.50.3"}"# {
                flannel_reads_value(&value).with_context(|| value.clone())?;
            }
            writes += 1;
        }
    }
    println!("{writes} writes were read");
    ensure!(writes >= 10, "{writes} writes are too few to prove anything: {recorded:?}");
    Ok(())
}

/// The specification's parser of keys (2.2).
fn flannel_reads_key(key: &str) -> Result<()> {
    let name = key.strip_prefix(&format!("{PREFIX}/subnets/")).context("outside of flannel's leases")?;
    let (v4, v6) = name.split_once('&').map_or((name, None), |(v4, v6)| (v4, Some(v6)));
    let (address, length) = v4.rsplit_once('-').context("no length")?;
    address.parse::<Ipv4Addr>()?;
    ensure!(length.parse::<u8>()? <= 31 && length.bytes().all(|digit| digit.is_ascii_digit()), "length {length}");
    if let Some(v6) = v6 {
        let (address, length) = v6.rsplit_once('-').context("no IPv6 length")?;
        let parsed: Ipv6Addr = address.parse()?;
        ensure!(parsed.to_string() == address && !address.bytes().any(|letter| letter.is_ascii_uppercase()), "not as Go writes it");
        ensure!(length.parse::<u8>()? <= 127, "length {length}");
    }
    Ok(())
}

/// The specification's shape of values (2.3): fields, their order and their types, and nothing else, without blanks.
fn flannel_reads_value(value: &str) -> Result<()> {
    let lease: Value = serde_json::from_str(value)?;
    let fields: Vec<&String> = lease.as_object().context("no object")?.keys().collect();
    let known = ["PublicIP", "PublicIPv6", "BackendType", "BackendData", "BackendV6Data"];
    let places: Vec<usize> =
        fields.iter().map(|field| known.iter().position(|known| known == field).context("an unknown field")).collect::<Result<_>>()?;
    ensure!(places.starts_with(&[0, 1]) && places.is_sorted(), "fields {fields:?}");
    lease["PublicIP"].as_str().context("PublicIP is no text")?.parse::<Ipv4Addr>()?;
    if !lease["PublicIPv6"].is_null() {
        lease["PublicIPv6"].as_str().context("PublicIPv6 is no text")?.parse::<Ipv6Addr>()?;
    }
    ensure!(lease.get("BackendType").is_none_or(|kind| kind.as_str().is_some_and(|kind| !kind.is_empty())), "BackendType");
    ensure!(lease.to_string() == value, "blanks or another spelling");
    Ok(())
}
