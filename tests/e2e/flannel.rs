//! flannel's own functional scenarios in our words, by flannel's command line, on an etcd with TLS and client certificates.
//!
//! Where each of flannel's scenarios and unit behaviours (spec, section 9) is shown:
//!
//! | | what | shown by |
//! |---|---|---|
//! | F1 | two daemons, subnet.env within 30 s, three pings each way between addresses of the subnets | here, for udp, vxlan and host-gw |
//! | F3 | two daemons a host with networks of their own | here |
//! | U1 | defaults, overrides and spellings of the config | `host/model/src/network/tests.rs` |
//! | U2 | subnet keys go round, malformed ones are refused | `plugins/store-etcd/src/key.rs`; in a running cluster `compatibility.rs` |
//! | U3 | the choice of a subnet: within the limits, the same again, the previous one, another after a change of the config | `host/lease/src/keeper/tests.rs`, `host/lease/src/choice.rs`; here with etcd |
//! | U4 | the plain value, a missing config, what the watch tells, leases that end | `plugins/store-etcd/src/value.rs`, `config.rs`; here with etcd |
//! | U5 | no news of the own lease; a renewal keeps all but the end | `host/lease/src/keeper/tests.rs`; here with etcd |
//! | U6 | compaction below the horizon, a removal that it hid, a restart of etcd after it, an end amid it all | `etcd_faults.rs`, `plugins/store-etcd/src/watch.rs`, `host/lease/src/keeper/tests/failure.rs`; the end here |
//! | U7 | a peer's gateway changes: one route is left | here, in both families |
//! | U8 | wrong addresses on the device are replaced, unrelated ones kept; IPv6 ends with one | here |
//! | U10 | annotations and containment of CIDRs: Kubernetes' store, which twill has not; containment | `host/model/src/network/tests.rs` |
//! | U11 | how the interface is found | `host/kernel/src/underlay_tests.rs` |
//! | U12 | a subnet file with prefixes that are none | `host/daemon/src/compat/subnet_env.rs` |
//! | U14 | generated MACs are unicast and local | `plugins/backend-vxlan/tests/vxlan/advertise.rs` |

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::authority::Authority;
use lab::etcd::{Etcd, NEEDS, PREFIX, Plan, place};
use lab::harness::Test;
use lab::process::run;
use lab::{Lab, Node, artifacts, wait_until};

use crate::families::lines;
use crate::on_etcd::{cluster, config};
use crate::story::SOON;

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("flannel F1: two daemons on udp", || two_daemons("udp")).needs(NEEDS),
    Test::new("flannel F1: two daemons on vxlan", || two_daemons("vxlan")).needs(NEEDS),
    Test::new("flannel F1: two daemons on host-gw", || two_daemons("host-gw")).needs(NEEDS),
    Test::new("flannel F3: two daemons on each host, with networks of their own", two_networks).needs(NEEDS),
    Test::new(
        "flannel: on udp the kernel holds what flannel would have made, and datagrams are bare packets from port to port",
        udp_golden,
    )
    .needs(NEEDS),
    Test::new("flannel U3: the subnet stays over restarts, comes back from subnet.env, and follows the config's limits", subnet_choice)
        .needs(NEEDS),
    Test::new("flannel U4, U5: news of others' leases and none of the own, which renewals leave as it is", lease_news).needs(NEEDS),
    Test::new("flannel U6: a daemon that waits for its store ends within three seconds when told to", prompt_end).needs(NEEDS),
    Test::new("flannel: a wrong first config is waited out, and the daemon is not ready meanwhile", wrong_first_config).needs(NEEDS),
    Test::new("flannel: a lease is renewed so long before its end as was asked for", renewal).needs(NEEDS),
    Test::new("flannel U7, U8: one route a peer and one address a device, whatever was there", routes_and_addresses).needs(NEEDS),
];

/// What flannel's own test gives its daemons until they have written the file.
const FILE: Duration = Duration::from_secs(30);

fn two_daemons(backend: &str) -> Result<()> {
    let lab = Lab::new("functional")?;
    let authority = Authority::new("ours")?;
    let etcd = Etcd::start(&lab, Plan::plain().tls(&authority).flag("--client-cert-auth"))?;
    etcd.config(&config(backend))?;
    let nodes = [lab.node("a")?, lab.node("b")?];
    let flanneld = artifacts::flanneld()?;
    for node in &nodes {
        node.start(etcd.flanneld(&flanneld).flags(&["-iface=eth0", "-v=4", HEALTH]))?;
    }
    let mut ends = Vec::new();
    for node in &nodes {
        wait_until("subnet.env", FILE, || node.subnet_env("FLANNEL_SUBNET").map(drop))?;
        ends.push(own_address(node, "FLANNEL_SUBNET", "end0")?);
    }
    for (node, from, to) in [(&nodes[0], &ends[0], &ends[1]), (&nodes[1], &ends[1], &ends[0])] {
        wait_until("three pings", SOON, || pings(node, from, to))?;
        wait_until("its health", SOON, || healthy(node, "/readyz", "200 OK", "flanneld is ready"))?;
        healthy(node, "/healthz", "200 OK", "flanneld is running")?;
    }
    Ok(())
}

/// Where a manifest's probes ask.
const HEALTH: &str = "-healthz-port=8081";

/// What is answered to a probe at the node's address.
fn healthy(node: &Node, path: &str, status: &str, body: &str) -> Result<()> {
    let at = (node.address(), 8081);
    let mut connection = node.net().inside(|| Ok(TcpStream::connect(at)?))?;
    write!(connection, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut told = String::new();
    connection.read_to_string(&mut told)?;
    ensure!(told.starts_with(&format!("HTTP/1.0 {status}\r\n")) && told.ends_with(&format!("\r\n\r\n{body}")), "{path}: {told}");
    Ok(())
}

/// Puts an address from subnet.env on an interface that leads nowhere (a bridge without ports, where flannel's test has a dummy device); returns it without its
/// length.
fn own_address(node: &Node, variable: &str, link: &str) -> Result<String> {
    let bridge = node.subnet_env(variable)?;
    node.ip(&format!("link add {link} type bridge"))?;
    node.ip(&format!("address add {bridge} dev {link}"))?;
    node.ip(&format!("link set {link} up"))?;
    Ok(bridge.split('/').next().context("no address")?.to_owned())
}

/// Three pings from one of the node's addresses, all answered.
fn pings(node: &Node, from: &str, to: &str) -> Result<()> {
    let told = run(node.net().command("ping")?.args(["-n", "-c3", "-i0.2", "-W2", "-I", from, to]))?;
    ensure!(told.contains(" 0% packet loss"), "{told}");
    Ok(())
}

/// A network on vxlan and one on host-gw, each with a prefix and a subnet file of its own, both on both hosts.
fn two_networks() -> Result<()> {
    let lab = Lab::new("two networks")?;
    let authority = Authority::new("ours")?;
    let etcd = Etcd::start(&lab, Plan::plain().tls(&authority).flag("--client-cert-auth"))?;
    for (name, network) in [("vxlan", "10.11.0.0/16"), ("host-gw", "10.12.0.0/16")] {
        etcd.put(&format!("/{name}/network/config"), &format!(r#"{{"Network":"{network}","Backend":{{"Type":"{name}"}}}}"#))?;
    }
    let hosts = [lab.node("one")?, lab.node("two")?];
    let flanneld = artifacts::flanneld()?;
    let words = |name: &str| {
        [etcd.flags()[1..].to_vec(), vec![format!("-subnet-file=/run/{name}.env"), format!("-etcd-prefix=/{name}/network")]].concat()
    };
    let mut daemons = Vec::new();
    for host in &hosts {
        for name in ["vxlan", "host-gw"] {
            let log = std::fs::File::create(host.dir("run").join(format!("{name}.log")))?;
            let mut daemon = host.command(&flanneld)?;
            daemon.args(words(name)).arg("-iface=eth0").stdout(log.try_clone()?).stderr(log).stdin(std::process::Stdio::null());
            daemons.push(daemon.spawn()?);
        }
    }
    let env = |host: &Node, name: &str| -> Result<String> {
        let text = std::fs::read_to_string(host.dir("run").join(format!("{name}.env")))?;
        let line = text.lines().find_map(|line| line.strip_prefix("FLANNEL_SUBNET=")).context("no subnet")?;
        Ok(line.to_owned())
    };
    let mut there = Vec::new();
    for host in &hosts {
        for (link, name) in [("end0", "vxlan"), ("end1", "host-gw")] {
            let bridge = wait_until(&format!("{name}.env"), FILE, || {
                env(host, name).with_context(|| std::fs::read_to_string(host.dir("run").join(format!("{name}.log"))).unwrap_or_default())
            })?;
            host.ip(&format!("link add {link} type bridge"))?;
            host.ip(&format!("address add {bridge} dev {link}"))?;
            host.ip(&format!("link set {link} up"))?;
            there.push(bridge.split('/').next().context("no address")?.to_owned());
        }
    }
    let [vxlan_one, gateway_one, vxlan_two, gateway_two] = there.try_into().map_err(|_| anyhow::anyhow!("four addresses"))?;
    let two = &hosts[1];
    wait_until("the first host over vxlan", SOON, || pings(two, &vxlan_two, &vxlan_one))?;
    wait_until("the first host over host-gw", SOON, || pings(two, &gateway_two, &gateway_one))?;
    // Out of the wrong device nothing arrives.
    let forced = |link: &str, to: &str| run(two.net().command("ping")?.args(["-n", "-c1", "-W1", "-I", link, to]));
    ensure!(forced("flannel.1", &gateway_one).is_err(), "the host-gw address answers through the vxlan device");
    ensure!(forced("eth0", &vxlan_one).is_err(), "the vxlan address answers without the vxlan device");
    for mut daemon in daemons {
        daemon.kill()?;
        daemon.wait()?;
    }
    Ok(())
}

/// Spec, section 5: device, address, MTU, one route for the whole network, the socket; and datagrams that hold an inner packet and nothing else, sent from the port
/// that they are sent to. (vxlan and host-gw have such texts in their own files.)
fn udp_golden() -> Result<()> {
    let (_lab, _etcd, [a, b], [p, q]) = cluster(&config("udp"), ["a", "b"])?;
    let base = a.subnet()?.replace("/24", "");
    let link = lines(&a.ip("-d link show dev flannel0")?).join(" ");
    ensure!(link.contains("<POINTOPOINT,MULTICAST,NOARP,UP,LOWER_UP> mtu 1472 ") && link.contains(" tun type tun pi off "), "{link}");
    let address = lines(&a.ip("-4 -o address show dev flannel0")?);
    ensure!(address.len() == 1 && address[0].contains(&format!("inet {base}/32 scope global flannel0")), "{address:?}");
    let routes = lines(&a.ip("route show dev flannel0")?);
    ensure!(routes == ["10.50.0.0/16 proto 73"], "{routes:?}");
    ensure!(!a.ip("-6 address show dev flannel0")?.contains("inet6"), "{}", a.ip("-6 address show dev flannel0")?);
    ensure!(a.subnet_env("FLANNEL_MTU")? == "1472");
    // A node that is nobody's daemon: what arrives at its port is seen as it is.
    b.kill()?;
    let at = (b.address(), 8285);
    let ear = b.net().inside(|| Ok(std::net::UdpSocket::bind(at)?))?;
    ear.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mouth = p.net().inside(|| Ok(std::net::UdpSocket::bind((p.address(), 0))?))?;
    let (mut buffer, text) = (vec![0; 2000], b"in the open");
    wait_until("a datagram at the other node", SOON, || {
        mouth.send_to(text, (q.address(), 9))?;
        let (size, from) = ear.recv_from(&mut buffer)?;
        ensure!(from == std::net::SocketAddr::from((a.address(), 8285)), "it came from {from}");
        let packet = &buffer[..size];
        ensure!(size == 20 + 8 + text.len() && packet[0] == 0x45 && packet.ends_with(text), "{packet:?}");
        ensure!(packet[12..16] == p.address().octets() && packet[16..20] == q.address().octets(), "{packet:?}");
        // Each host is one hop; with flannel it is two.
        ensure!(packet[8] == 63 && lab::packet::checksum(&packet[..20]) == 0, "TTL {}: {packet:?}", packet[8]);
        Ok(())
    })?;
    Ok(())
}

fn subnet_choice() -> Result<()> {
    let lab = Lab::new("choice")?;
    let narrow = |min: &str, max: &str| {
        format!(r#"{{"Network":"10.50.0.0/16","SubnetMin":"{min}","SubnetMax":"{max}","Backend":{{"Type":"host-gw"}}}}"#)
    };
    let etcd = Etcd::with_config(&lab, &narrow("10.50.16.0", "10.50.19.0"))?;
    let a = etcd.join(&lab, "a")?;
    let first = a.subnet()?;
    ensure!((16..=19).any(|third| first == format!("10.50.{third}.0/24")), "{first} is outside of the limits");
    a.kill()?;
    a.start(etcd.launch())?;
    a.ready(SOON)?;
    ensure!(a.subnet()? == first, "{first} became {}", a.subnet()?);
    // Nothing is left of the node but its subnet.env, and nothing of its lease: as after a day without flanneld.
    let forget = |node: &Node| -> Result<()> {
        node.kill()?;
        std::fs::remove_dir_all(node.dir("lib").join("twill"))?;
        etcd.ctl(&["del", "--prefix", &format!("{PREFIX}/subnets/")])?;
        etcd.ctl(&["del", "--prefix", &format!("{PREFIX}/twill/nodes/")]).map(drop)
    };
    for _ in 0..3 {
        forget(&a)?;
        a.start(etcd.launch())?;
        a.ready(SOON)?;
        ensure!(a.subnet()? == first, "subnet.env said {first}, and it became {}", a.subnet()?);
    }
    // Held by somebody else it is not touched; outside of the config it is passed over.
    forget(&a)?;
    etcd.flannel_joins("host-gw", &first, "192.168.50.77")?;
    a.start(etcd.launch())?;
    wait_until("another subnet", SOON, || Ok(ensure!(a.subnet()? != first && a.get("/readyz")?.0 == 200)))?;
    ensure!(etcd.value(&place(&first))?.contains("192.168.50.77"), "the lease of another node was written over");
    forget(&a)?;
    etcd.config(&narrow("10.50.32.0", "10.50.33.0"))?;
    a.start(etcd.launch())?;
    wait_until("a subnet within the new limits", SOON, || {
        let now = a.subnet()?;
        ensure!(["10.50.32.0/24", "10.50.33.0/24"].contains(&now.as_str()), "{now}");
        Ok(())
    })
}

fn lease_news() -> Result<()> {
    let (_lab, etcd, [a, b], _pods) = cluster(&config("host-gw"), ["a", "b"])?;
    let own = a.subnet()?;
    etcd.put_for(3, &place("10.50.252.0/24"), r#"{"PublicIP":"192.168.50.78","PublicIPv6":null,"BackendType":"host-gw"}"#)?;
    wait_until("the short lease", SOON, || Ok(ensure!(a.api("leases")?.to_string().contains("10.50.252.0/24"))))?;
    a.wait_for_no_lease("10.50.252.0/24", SOON)?;
    let told = |node: &Node, subnet: &str| -> Result<Vec<String>> {
        Ok(node.events()?.into_iter().filter(|event| event.ends_with(subnet)).collect())
    };
    let words = |events: Vec<String>| {
        events.iter().filter_map(|event| event.split(": ").next()?.split(' ').next_back().map(str::to_owned)).collect::<Vec<_>>()
    };
    ensure!(words(told(&a, "10.50.252.0/24")?) == ["joined", "left"], "{:?}", told(&a, "10.50.252.0/24")?);
    ensure!(told(&a, &own)?.is_empty(), "the own lease is told of as a peer's: {:?}", told(&a, &own)?);
    // A restart renews: the same value on a fresh etcd lease of the whole term, and no news for anybody.
    let (value, before) = (etcd.value(&place(&own))?, etcd.lease_of(&place(&own))?);
    a.kill()?;
    a.start(etcd.launch())?;
    a.ready(SOON)?;
    wait_until("the renewed lease", SOON, || Ok(ensure!(etcd.lease_of(&place(&own))? != before)))?;
    ensure!(etcd.value(&place(&own))? == value && etcd.term(&place(&own))? == Some(86_400), "{}", etcd.value(&place(&own))?);
    ensure!(words(told(&b, &own)?) == ["joined"], "{:?}", told(&b, &own)?);
    // The etcd lease from before is not left behind.
    let leases = etcd.ctl(&["lease", "list"])?;
    ensure!(!leases.contains(&before), "{before} is among {leases}");
    Ok(())
}

fn prompt_end() -> Result<()> {
    let (_lab, etcd, [a], _pods) = cluster(&config("vxlan"), ["a"])?;
    etcd.stop()?;
    crate::on_etcd::misses_its_store(&a)?;
    let began = std::time::Instant::now();
    let status = a.stop()?;
    ensure!(began.elapsed() < Duration::from_secs(3) && status.success(), "{status} after {:?}", began.elapsed());
    let late = std::time::Instant::now();
    a.start(etcd.launch())?;
    wait_until("the daemon to be up", SOON, || a.get("/healthz").map(drop))?;
    a.stop()?;
    ensure!(late.elapsed() < Duration::from_secs(8), "{:?}", late.elapsed());
    Ok(())
}

/// Spec, section 1: in etcd mode a wrong config is tried again for ever; the process goes on and is not ready.
fn wrong_first_config() -> Result<()> {
    let lab = Lab::new("wrong first")?;
    let etcd = Etcd::with_config(&lab, r#"{"Network":"10.50.0.0/30","Backend":{"Type":"vxlan"}}"#)?;
    let (a, flanneld) = (lab.node("a")?, artifacts::flanneld()?);
    a.start(etcd.flanneld(&flanneld).flags(&["-iface=eth0", HEALTH]))?;
    wait_until("what is wrong", SOON, || Ok(ensure!(a.log()?.contains("a better one is waited for"), "{}", a.log()?)))?;
    ensure!(a.ended()?.is_none(), "the daemon ended: {}", a.log()?);
    // Alive and not ready, so that no probe ends it: on flannel's port as on the socket.
    healthy(&a, "/healthz", "200 OK", "flanneld is running")?;
    healthy(&a, "/readyz", "503 Service Unavailable", "flanneld is not ready yet")?;
    ensure!(a.get("/readyz")?.0 == 503 && etcd.keys(&format!("{PREFIX}/subnets"))?.is_empty(), "{:?}", a.get("/readyz")?);
    ensure!(a.log()?.matches("a better one is waited for").count() == 1, "it is said again and again: {}", a.log()?);
    etcd.config(&config("vxlan"))?;
    a.ready(SOON)?;
    healthy(&a, "/readyz", "200 OK", "flanneld is ready")
}

/// The seconds that are left of a lease grow again when the margin is reached, and not before.
fn renewal() -> Result<()> {
    let (term, margin) = (12, 4);
    let lab = Lab::new("renewal")?;
    let etcd = Etcd::with_config(&lab, &config("host-gw"))?;
    let a = lab.node("a")?;
    a.start(etcd.launch().flags(&[&format!("--lease-ttl={term}s"), &format!("--lease-renew-margin={margin}s")]))?;
    a.ready(SOON)?;
    let key = place(&a.subnet()?);
    let (mut before, mut renewed) = (term, Vec::new());
    let until = std::time::Instant::now() + Duration::from_secs(3 * u64::from(term));
    while std::time::Instant::now() < until {
        let left = etcd.left(&key)?;
        if left > before {
            renewed.push(before);
        }
        before = left;
        std::thread::sleep(Duration::from_millis(200));
    }
    // Each is a chance for the others to see it late: what is asked of is whole seconds, rounded down.
    let in_time = |left: &u32| (1..=margin).contains(left);
    ensure!((3..=5).contains(&renewed.len()) && renewed.iter().all(in_time), "renewed with so many seconds left: {renewed:?}");
    Ok(())
}

fn routes_and_addresses() -> Result<()> {
    let dual = |backend: &str| {
        format!(r#"{{"Network":"10.50.0.0/16","EnableIPv6":true,"IPv6Network":"fd10::/48","Backend":{{"Type":"{backend}"}}}}"#)
    };
    let lab = Lab::new("one route")?;
    let etcd = Etcd::with_config(&lab, &dual("host-gw"))?;
    let a = lab.node("a")?;
    a.ip("-6 address add fd50::a/64 dev eth0 nodad")?;
    a.start(etcd.launch())?;
    a.ready(SOON)?;
    let key = place("10.50.250.0/24&fd10:0:0:250::/64");
    for (v4, v6) in [("192.168.50.77", "fd50::77"), ("192.168.50.78", "fd50::78")] {
        etcd.put_for(86_400, &key, &format!(r#"{{"PublicIP":"{v4}","PublicIPv6":"{v6}","BackendType":"host-gw"}}"#))?;
        wait_until("just one route by the new gateway", SOON, || {
            let routes = lines(&a.ip("-4 route show 10.50.250.0/24")?);
            ensure!(routes == [format!("10.50.250.0/24 via {v4} dev eth0 proto 73")], "{routes:?}");
            let routes = lines(&a.ip("-6 route show fd10:0:0:250::/64")?);
            ensure!(routes == [format!("fd10:0:0:250::/64 via {v6} dev eth0 proto 73 metric 1024 pref medium")], "{routes:?}");
            Ok(())
        })?;
    }
    // The device of another backend: what lies in the network and is not the base address goes, all else stays.
    etcd.config(&dual("vxlan"))?;
    wait_until("the devices", SOON, || Ok(ensure!(a.has_link("flannel.1") && a.has_link("flannel-v6.1"))))?;
    a.ip("address add 10.50.99.9/32 dev flannel.1")?;
    a.ip("address add 198.51.100.9/32 dev flannel.1")?;
    a.ip("-6 address add fd10:0:0:99::9/128 dev flannel-v6.1 nodad")?;
    let base = a.subnet()?.replace("/24", "/32");
    wait_until("the right addresses alone", SOON, || {
        let v4 = lines(&a.ip("-4 -o address show dev flannel.1")?).join("; ");
        ensure!(v4.contains(&base) && v4.contains("198.51.100.9/32") && !v4.contains("10.50.99.9"), "{v4}");
        let v6 = lines(&a.ip("-6 -o address show dev flannel-v6.1 scope global")?);
        ensure!(v6.len() == 1 && !v6[0].contains("fd10:0:0:99::9"), "{v6:?}");
        Ok(())
    })
}
