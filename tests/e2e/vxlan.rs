//! The vxlan backend: pods reach each other in both families over devices, entries and routes in flannel's shape, which are kept so.

use std::net::Ipv6Addr;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};
use lab::harness::{Need, Test};
use lab::process::run;
use lab::transfer::transfer;
use lab::{Lab, Node, Pod, wait_until};
use serde_json::Value;

use crate::families::{
    V4, V6, answers, cluster, give_v6, lines, machines, pods, pods_of_ipv6_alone, published, start, start_on_ipv6_alone, underlay_v6,
};
use crate::story::{SOON, flowing};

const ETHTOOL: &[Need] = &[Need::Program("ethtool")];

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("vxlan: pods talk, and the kernel holds what flannel would have made", golden),
    Test::new("vxlan: dual stack, with the MTU that fits both", dual_stack),
    Test::new("vxlan: a cluster of IPv6 alone, on an underlay without IPv4", ipv6_alone),
    Test::new("vxlan: what is deleted or changed by hand is back", repaired),
    Test::new("vxlan: options reach the device, and a smaller underlay MTU the pods", options),
    Test::new("vxlan: another VNI is another device, and the old one goes", another_vni),
    Test::new("vxlan: with direct routing only peers behind a router are tunnelled to", direct_routing),
    Test::new("vxlan: --vxlan-tx-checksum=off has the kernel compute checksums", || checksums("off", "off")).needs(ETHTOOL),
    Test::new("vxlan: --vxlan-tx-checksum=on leaves checksums to the card", || checksums("on", "on")).needs(ETHTOOL),
    Test::new("vxlan: direct routing of a dual-stack cluster sends IPv6 so too", direct_routing_v6),
    Test::new("vxlan: a restart keeps device and MAC, and loses no packet", restart),
    Test::new("vxlan: a device that flannel left is taken over without a lost packet", take_over),
    Test::new("vxlan: the devices of both families that flannel left are taken over without a lost packet", take_over_both),
];

/// What differs between the families.
#[derive(Clone, Copy)]
struct Side {
    key: &'static str,
    link: &'static str,
    ip: &'static str,
    mtu: u32,
    host: u8,
    /// How `ip route` ends a route's line.
    flags: &'static str,
}

const SIDE_V4: Side = Side { key: "v4", link: "flannel.1", ip: "-4", mtu: 1450, host: 32, flags: "onlink" };
const SIDE_V6: Side = Side { key: "v6", link: "flannel-v6.1", ip: "-6", mtu: 1430, host: 128, flags: "metric 1024 onlink pref medium" };

fn config(families: &str, options: &str) -> String {
    format!(r#"{{{families},"Backend":{{"Type":"vxlan"{options}}}}}"#)
}

fn golden() -> Result<()> {
    let (lab, nodes, pods) = cluster(&config(V4, ""), ["a", "b", "c"])?;
    in_shape(&lab, &nodes.each_ref(), SIDE_V4)?;
    ensure!(!nodes[0].has_link("flannel-v6.1"), "there is an IPv6 device in a network of IPv4");
    ensure!(nodes[0].subnet_env("FLANNEL_MTU")? == "1450");
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        transfer(&pods[from], &pods[to], 10_000_000)?;
    }
    let lease = published(&lab, &nodes[0])?;
    let data = lease["ways"][0]["data_v4"].as_str().context("no data")?;
    ensure!(data == format!(r#"{{"VNI":1,"VtepMAC":"{}"}}"#, mac(&lease, SIDE_V4)?), "{data}");
    ensure!(lease["public"]["v6"].is_null(), "an IPv6 address is published in a network of IPv4: {lease}");
    Ok(())
}

fn dual_stack() -> Result<()> {
    let (lab, nodes, pods) = cluster(&config(&format!("{V4},{V6}"), ""), ["a", "b"])?;
    in_shape(&lab, &nodes.each_ref(), SIDE_V4)?;
    in_shape(&lab, &nodes.each_ref(), SIDE_V6)?;
    ensure!(nodes[0].subnet_env("FLANNEL_MTU")? == "1430");
    let to = give_v6(&nodes[1], &pods[1])?;
    give_v6(&nodes[0], &pods[0])?;
    // 1430 bytes to the byte: 48 of them are headers.
    for words in [&["-s56"][..], &["-Mdo", "-s1382"]] {
        answers(|| pods[0].net().command("ping"), words, to)?;
    }
    Ok(())
}

fn ipv6_alone() -> Result<()> {
    let (lab, nodes) = machines(&config(&format!(r#""EnableIPv4":false,{V6}"#), ""), ["a", "b"])?;
    start_on_ipv6_alone(&nodes)?;
    in_shape(&lab, &nodes.each_ref(), SIDE_V6)?;
    ensure!(!nodes[0].has_link("flannel.1"), "there is an IPv4 device in a network of IPv6");
    let base: Ipv6Addr = text(&published(&lab, &nodes[1])?["subnets"]["v6"])?.trim_end_matches("/64").parse()?;
    answers(|| nodes[0].net().command("ping"), &[], base)?;
    // To the byte: 48 of 1430 are headers.
    pods_of_ipv6_alone(&nodes, 1382)
}

fn checksums(word: &'static str, wanted: &'static str) -> Result<()> {
    let (_lab, nodes) = machines(&config(V4, ""), ["a", "b"])?;
    nodes[0].start(lab::Launch::now().flags(&["--vxlan-tx-checksum", word]))?;
    nodes[1].start(lab::Launch::now())?;
    nodes.iter().try_for_each(|node| node.ready(SOON))?;
    let pods = pods(&nodes)?;
    transfer(&pods[0], &pods[1], 1_000_000)?;
    wait_until(&format!("checksums of the device to be {wanted}"), SOON, || {
        let shown = run(nodes[0].net().command("ethtool")?.args(["-k", "flannel.1"]))?;
        Ok(ensure!(shown.contains(&format!("tx-checksumming: {wanted}")), "{shown}"))
    })
}

fn repaired() -> Result<()> {
    let (lab, nodes, [p, q]) = cluster(&config(&format!("{V4},{V6}"), ""), ["a", "b"])?;
    let [a, b] = &nodes;
    let peer = published(&lab, b)?;
    let (subnet, outer, mac) = (text(&peer["subnets"]["v4"])?, b.address(), mac(&peer, SIDE_V4)?);
    let base = subnet.trim_end_matches("/24");
    let damages = [
        format!("ip route delete {subnet}"),
        format!("ip route replace {subnet} dev eth0"),
        format!("ip route replace {subnet} via {base} dev flannel.1 onlink mtu 1000"),
        format!("ip neigh delete {base} dev flannel.1"),
        format!("ip neigh change {base} dev flannel.1 lladdr 02:00:00:00:00:01 nud permanent"),
        format!("bridge fdb delete {mac} dev flannel.1 dst {outer} self"),
        format!("bridge fdb replace {mac} dev flannel.1 dst 192.168.50.250 self permanent"),
        "ip address flush dev flannel.1".to_string(),
        "ip link set flannel.1 address 02:00:00:00:00:02".to_string(),
        "ip link set flannel.1 mtu 1300".to_string(),
        "ip link set flannel.1 down".to_string(),
        "ip link delete flannel.1".to_string(),
        "ip link delete flannel-v6.1".to_string(),
        "ip -6 route flush dev flannel-v6.1 proto 73".to_string(),
    ];
    for damage in damages {
        let words: Vec<&str> = damage.split(' ').collect();
        run(a.net().command(words[0])?.args(&words[1..]))?;
        wait_until(&format!("the repair after `{damage}`"), SOON, || {
            shape(&lab, a, &[b], SIDE_V4)?;
            shape(&lab, a, &[b], SIDE_V6)
        })?;
        p.reaches(&q, SOON)?;
    }
    Ok(())
}

fn options() -> Result<()> {
    let (_lab, [a, b], [p, q]) = cluster(&config(V4, r#","VNI":7,"Port":4790,"Learning":true,"GBP":true,"MTU":1400"#), ["a", "b"])?;
    let told = lines(&a.ip("-d link show dev flannel.7")?).join(" ");
    let local = format!("vxlan id 7 local {} dev eth0 srcport 0 0 dstport 4790 ttl auto ageing 300", a.address());
    ensure!(told.contains(&local) && told.contains(" mtu 1350 ") && told.contains(" gbp "), "{told}");
    ensure!(accept_ra(&a, "flannel.7")? == "0", "the device of the VNI takes router advertisements");
    ensure!(a.subnet_env("FLANNEL_MTU")? == "1350");
    let index = index(&a, "flannel.7")?;
    for node in [&a, &b] {
        node.ip("link set eth0 mtu 1300")?;
        wait_until("the smaller MTU", SOON, || Ok(ensure!(node.subnet_env("FLANNEL_MTU")? == "1250", "{}", node.api("state")?)))?;
    }
    let told = a.ip("link show dev flannel.7")?;
    ensure!(told.contains(" mtu 1250 ") && self::index(&a, "flannel.7")? == index, "{told}");
    p.reaches(&q, SOON)
}

fn another_vni() -> Result<()> {
    let (lab, nodes) = machines(&config(V4, ""), ["a", "b"])?;
    for node in &nodes {
        node.start(lab::Launch::now().flags(&["--keep-ways", "2s"]))?;
    }
    nodes.iter().try_for_each(|node| node.ready(SOON))?;
    let [p, q] = pods(&nodes)?;
    let before = mac(&published(&lab, &nodes[0])?, SIDE_V4)?;
    lab.config(&config(V4, r#","VNI":8"#))?;
    for node in &nodes {
        wait_until("the new device alone", SOON, || {
            let links = node.ip("link show type vxlan")?;
            ensure!(links.contains("flannel.8") && !links.contains("flannel.1:"), "{links}");
            Ok(())
        })?;
    }
    p.reaches(&q, SOON)?;
    let lease = published(&lab, &nodes[0])?;
    ensure!(mac(&lease, SIDE_V4)? == before && lease.to_string().contains(r#"VNI\":8"#), "{lease}");
    Ok(())
}

fn direct_routing() -> Result<()> {
    let (lab, nodes) = machines(&config(V4, r#","DirectRouting":true"#), ["a", "b", "far"])?;
    let [a, b, far] = &nodes;
    behind_a_router(&lab, far)?;
    a.rp_filter(1)?;
    start(&nodes.each_ref())?;
    let pods = pods(&nodes)?;
    transfer(&pods[0], &pods[1], 1_000_000)?;
    let route = |to: &Node| Ok::<_, anyhow::Error>(lines(&a.ip(&format!("route show {}", to.subnet()?))?).join("; "));
    ensure!(route(b)? == format!("{} via {} dev eth0 proto 73", b.subnet()?, b.address()), "{}", route(b)?);
    let base = far.subnet()?.replace("/24", "");
    ensure!(route(far)? == format!("{} via {base} dev flannel.1 proto 73 onlink", far.subnet()?), "{}", route(far)?);
    ensure!(lines(&fdb(a, "flannel.1")?).len() == 1 && fdb(a, "flannel.1")?.contains("dst 192.168.51.9"), "{}", fdb(a, "flannel.1")?);
    let filter = a.net().read_sysctl("net.ipv4.conf.eth0.rp_filter")?;
    ensure!(filter == "2", "rp_filter {filter} would drop what comes by another way");
    ensure!(a.subnet_env("FLANNEL_MTU")? == "1450");
    Ok(())
}

fn direct_routing_v6() -> Result<()> {
    let (lab, nodes) = machines(&config(&format!("{V4},{V6}"), r#","DirectRouting":true"#), ["a", "b", "far"])?;
    let [a, b, far] = &nodes;
    behind_a_router(&lab, far)?;
    for near in [a, b] {
        near.ip("-6 route add fd51::/64 via fd50::fe")?;
    }
    start(&nodes.each_ref())?;
    let pods = pods(&nodes)?;
    for (node, pod) in nodes.iter().zip(&pods) {
        give_v6(node, pod)?;
    }
    let subnet = |of: &Node| Ok::<_, anyhow::Error>(of.subnet_env("FLANNEL_IPV6_SUBNET")?.replace("::1/64", "::/64"));
    for (to, pod) in [(b, &pods[1]), (far, &pods[2])] {
        let address = subnet(to)?.replace("::/64", "::2").parse()?;
        answers(|| pods[0].net().command("ping"), &[], address)?;
        answers(|| pods[0].net().command("ping"), &["-s1000"], address)?;
        pods[0].reaches(pod, SOON)?;
    }
    let route = |to: &Node| Ok::<_, anyhow::Error>(lines(&a.ip(&format!("-6 route show {}", subnet(to)?))?).join("; "));
    let direct = format!("{} via {} dev eth0 proto 73 metric 1024 pref medium", subnet(b)?, underlay_v6(b));
    ensure!(route(b)? == direct, "{} instead of {direct}", route(b)?);
    let base = subnet(far)?.replace("/64", "");
    let tunnelled = format!("{} via {base} dev flannel-v6.1 proto 73 metric 1024 onlink pref medium", subnet(far)?);
    ensure!(route(far)? == tunnelled, "{} instead of {tunnelled}", route(far)?);
    let fdb = fdb(a, "flannel-v6.1")?;
    ensure!(lines(&fdb).len() == 1 && fdb.contains("dst fd51::9"), "{fdb}");
    Ok(())
}

/// Puts a machine into another network, behind a router: the switch, with addresses in it.
fn behind_a_router(lab: &Lab, far: &Node) -> Result<()> {
    let router = lab.switch();
    router.ip("address add 192.168.51.254/24 dev br0")?;
    router.ip("-6 address add fd51::fe/64 dev br0 nodad")?;
    router.sysctl("net.ipv4.ip_forward", "1")?;
    router.sysctl("net.ipv6.conf.all.forwarding", "1")?;
    router.sysctl("net.ipv4.conf.br0.send_redirects", "0")?;
    router.sysctl("net.ipv4.conf.all.send_redirects", "0")?;
    far.ip("address flush dev eth0 scope global")?;
    far.ip("address add 192.168.51.9/24 dev eth0")?;
    far.ip("route add default via 192.168.51.254")?;
    far.ip("-6 address add fd51::9/64 dev eth0 nodad")?;
    far.ip("-6 route add fd50::/64 via fd51::fe")?;
    Ok(())
}

fn restart() -> Result<()> {
    let (lab, nodes, [p, q]) = cluster(&config(V4, ""), ["a", "b"])?;
    let (index_before, lease) = (index(&nodes[0], "flannel.1")?, published(&lab, &nodes[0])?);
    let streams = [flowing(&p, &q)?, flowing(&q, &p)?];
    nodes[0].kill()?;
    nodes[0].start(lab::Launch::now())?;
    nodes[0].ready(SOON)?;
    in_shape(&lab, &nodes.each_ref(), SIDE_V4)?;
    for stream in streams {
        stream.stop()?.nothing_lost()?;
    }
    ensure!(index(&nodes[0], "flannel.1")? == index_before, "the device was made anew");
    ensure!(mac(&published(&lab, &nodes[0])?, SIDE_V4)? == mac(&lease, SIDE_V4)?, "another MAC is published");
    Ok(())
}

fn take_over() -> Result<()> {
    let (lab, nodes, [p, q]) = cluster(&config(V4, ""), ["a", "b"])?;
    let [a, b] = &nodes;
    let subnet = a.subnet()?;
    let mac = become_flannels(&lab, a, b)?;
    let index_before = index(a, "flannel.1")?;
    let streams = [flowing(&p, &q)?, flowing(&q, &p)?];
    a.start(lab::Launch::now())?;
    a.ready(SOON)?;
    in_shape(&lab, &nodes.each_ref(), SIDE_V4)?;
    for stream in streams {
        stream.stop()?.nothing_lost()?;
    }
    ensure!(a.subnet()? == subnet, "{subnet} became {}", a.subnet()?);
    ensure!(index(a, "flannel.1")? == index_before, "the device was made anew");
    ensure!(self::mac(&published(&lab, a)?, SIDE_V4)? == mac, "another MAC is published");
    ensure!(!a.ip("route show")?.contains("10.50.250.0"), "the route of a peer that had left is still there");
    ensure!(a.ip("route show 10.50.251.0/24")?.contains("eth0"), "a route that is none of flannel's was taken away");
    Ok(())
}

/// The same with both families: neither device is made anew, and pods reach each other by both all the while.
fn take_over_both() -> Result<()> {
    let (lab, nodes, [p, q]) = cluster(&config(&format!("{V4},{V6}"), ""), ["a", "b"])?;
    let [a, b] = &nodes;
    let (from, to) = (give_v6(a, &p)?, give_v6(b, &q)?);
    answers(|| p.net().command("ping"), &[], to)?;
    a.kill()?;
    let (own, peer) = (published(&lab, a)?, published(&lab, b)?);
    for side in [SIDE_V4, SIDE_V6] {
        flannels_device(a, &own, &peer, side)?;
    }
    no_trace_of_twill(&lab, a, own.clone())?;
    let before = [index(a, "flannel.1")?, index(a, "flannel-v6.1")?];
    let streams = [flowing(&p, &q)?, flowing(&q, &p)?];
    let pings = [(&p, to), (&q, from)].map(|(pod, to)| pings_all_the_while(pod, to));
    a.start(lab::Launch::now())?;
    a.ready(SOON)?;
    [SIDE_V4, SIDE_V6].into_iter().try_for_each(|side| in_shape(&lab, &nodes.each_ref(), side))?;
    for pings in pings {
        let told = String::from_utf8_lossy(&pings?.wait_with_output()?.stdout).into_owned();
        ensure!(told.contains(" 0% packet loss"), "{told}");
    }
    for stream in streams {
        stream.stop()?.nothing_lost()?;
    }
    ensure!([index(a, "flannel.1")?, index(a, "flannel-v6.1")?] == before, "a device was made anew");
    let now = published(&lab, a)?;
    for side in [SIDE_V4, SIDE_V6] {
        ensure!(mac(&now, side)? == mac(&own, side)?, "another MAC is published: {now}");
    }
    ensure!(now["subnets"] == own["subnets"], "{own} became {now}");
    Ok(())
}

/// Four seconds of an echo each ten milliseconds.
fn pings_all_the_while(from: &Pod, to: Ipv6Addr) -> Result<Child> {
    let words = ["-6", "-n", "-q", "-i0.01", "-c400", "-W2"];
    Ok(from.net().command("ping")?.args(words).arg(to.to_string()).stdout(Stdio::piped()).spawn()?)
}

/// Makes of a node with twill one whose flanneld was stopped: device, address, routes and entries by plain `ip` with flannel's attributes, those of a peer
/// that had left among them, a lease without an owner's id, and no trace of twill. Returns the device's MAC.
fn become_flannels(lab: &Lab, a: &Node, b: &Node) -> Result<String> {
    a.kill()?;
    let (own, peer) = (published(lab, a)?, published(lab, b)?);
    flannels_device(a, &own, &peer, SIDE_V4)?;
    flannels_entries(a, SIDE_V4, ["10.50.250.0/24", "02:00:00:00:00:99", "192.168.50.250"])?;
    a.ip("route add 10.50.251.0/24 dev eth0")?;
    let mac = mac(&own, SIDE_V4)?;
    no_trace_of_twill(lab, a, own)?;
    Ok(mac)
}

/// The device of one family as flannel makes it (spec, section 4.1), with what leads to one peer.
fn flannels_device(a: &Node, own: &Value, peer: &Value, side: Side) -> Result<()> {
    let Side { link, ip, mtu, key, .. } = side;
    let (mac_own, local) = (mac(own, side)?, text(&own["public"][key])?);
    a.ip(&format!("link delete {link}"))?;
    a.ip(&format!("link add {link} mtu {mtu} address {mac_own} type vxlan id 1 dev eth0 local {local} dstport 8472 nolearning"))?;
    a.ip(&format!("{ip} address add {}/{} dev {link}", base(own, side)?, side.host))?;
    a.ip(&format!("link set {link} up"))?;
    flannels_entries(a, side, [text(&peer["subnets"][key])?, &mac(peer, side)?, text(&peer["public"][key])?])
}

fn flannels_entries(a: &Node, Side { link, ip, .. }: Side, [subnet, mac, outer]: [&str; 3]) -> Result<()> {
    let gateway = subnet.split('/').next().context("no base address")?;
    a.ip(&format!("{ip} neigh add {gateway} dev {link} lladdr {mac} nud permanent"))?;
    run(a.net().command("bridge")?.args(["fdb", "add", mac, "dev", link, "dst", outer, "self", "permanent"]))?;
    a.ip(&format!("{ip} route add {subnet} via {gateway} dev {link} onlink")).map(drop)
}

/// Nothing is remembered on the node, and nobody's id is on its lease.
fn no_trace_of_twill(lab: &Lab, a: &Node, mut lease: Value) -> Result<()> {
    for entry in std::fs::read_dir(a.dir("lib"))? {
        std::fs::remove_dir_all(entry?.path())?;
    }
    let subnets = text(&lease["subnets"]["v4"])?.to_owned();
    let of_it = |name: &str| name.starts_with(&subnets.replace('/', "-")) && name.ends_with(".lease");
    let names = std::fs::read_dir(lab.store())?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let file = names.into_iter().find(|name| of_it(name)).with_context(|| format!("no lease of {subnets}"))?;
    lease["node"] = Value::Null;
    Ok(std::fs::write(lab.store().join(file), lease.to_string())?)
}

/// Waits until every node's kernel holds just what flannel would have made for the others.
fn in_shape(lab: &Lab, nodes: &[&Node], side: Side) -> Result<()> {
    for node in nodes {
        let others: Vec<&Node> = nodes.iter().copied().filter(|other| other.name() != node.name()).collect();
        wait_until(&format!("flannel's shape on {}", node.name()), SOON, || shape(lab, node, &others, side))?;
    }
    Ok(())
}

/// What `ip` and `bridge` print of a node's VXLAN device of one family, against flannel's attributes, address, routes and entries.
fn shape(lab: &Lab, node: &Node, others: &[&Node], side: Side) -> Result<()> {
    let Side { link, ip, mtu, .. } = side;
    let lease = published(lab, node)?;
    let told = lines(&node.ip(&format!("-d link show dev {link}"))?).join(" ");
    let mac_words = format!("link/ether {} brd", mac(&lease, side)?);
    let attributes = format!(
        "vxlan id 1 local {} dev eth0 srcport 0 0 dstport 8472 nolearning ttl auto ageing 300 udpcsum noudp6zerocsumtx noudp6zerocsumrx addrgenmode",
        text(&lease["public"][side.key])?
    );
    for words in [format!(" mtu {mtu} "), "UP,LOWER_UP".into(), mac_words, attributes] {
        ensure!(told.contains(&words), "\"{words}\" is not in: {told}");
    }
    ensure!(!told.contains(" gbp "), "nobody asked for group policy: {told}");
    ensure!(accept_ra(node, link)? == "0", "{link} takes router advertisements");
    let addresses = lines(&node.ip(&format!("{ip} address show dev {link} scope global"))?).join(" ");
    ensure!(addresses.contains(&format!(" {}/{} scope global", base(&lease, side)?, side.host)), "{addresses}");
    let peers: Vec<Value> = others.iter().map(|other| published(lab, other)).collect::<Result<_>>()?;
    same(&node.ip(&format!("{ip} route show dev {link} proto 73"))?, &peers, |peer| {
        let (to, via) = (text(&peer["subnets"][side.key])?, base(peer, side)?);
        Ok(format!("{to} via {via} {}", side.flags))
    })?;
    same(&node.ip(&format!("{ip} neigh show dev {link} nud permanent"))?, &peers, |peer| {
        Ok(format!("{} lladdr {} PERMANENT", base(peer, side)?, mac(peer, side)?))
    })?;
    same(&fdb(node, link)?, &peers, |peer| Ok(format!("{} dst {} self permanent", mac(peer, side)?, text(&peer["public"][side.key])?)))
}

/// A program's lines are just one a peer.
fn same(told: &str, peers: &[Value], line: impl Fn(&Value) -> Result<String>) -> Result<()> {
    let mut wanted: Vec<String> = peers.iter().map(line).collect::<Result<_>>()?;
    let mut there = lines(told);
    wanted.sort();
    there.sort();
    ensure!(there == wanted, "{there:#?} instead of {wanted:#?}");
    Ok(())
}

fn fdb(node: &Node, link: &str) -> Result<String> {
    run(node.net().command("bridge")?.args(["fdb", "show", "dev", link]))
}

/// The kernel's word on router advertisements; the dot of the name keeps `sysctl` from it.
fn accept_ra(node: &Node, link: &str) -> Result<String> {
    let file = format!("/proc/sys/net/ipv6/conf/{link}/accept_ra");
    node.net().inside(|| Ok(std::fs::read_to_string(&file)?.trim().to_owned()))
}

fn index(node: &Node, link: &str) -> Result<u64> {
    node.ip_json(&format!("link show dev {link}"))?[0]["ifindex"].as_u64().context("no index")
}

/// The MAC that a lease publishes for a family.
fn mac(lease: &Value, side: Side) -> Result<String> {
    let data: Value = serde_json::from_str(text(&lease["ways"][0][format!("data_{}", side.key)])?)?;
    Ok(text(&data["VtepMAC"])?.to_string())
}

fn base(lease: &Value, side: Side) -> Result<&str> {
    text(&lease["subnets"][side.key])?.split('/').next().context("no base address")
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("{value} is no text"))
}
