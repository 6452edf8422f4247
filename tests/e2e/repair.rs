//! What is deleted or replaced by hand is back at once, traffic with it, and the log says once what was lost.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::harness::{Test, long};
use lab::process::run;
use lab::{Lab, Launch, Node, wait_until};

use crate::pains::{leads_to, mac};
use crate::story::{NETWORK, SOON, cluster, flowing, goes_on};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("repair: a deleted link, address or route is back, traffic resumes, and it is logged once", each_kind),
    Test::new("repair: settings that another hand changes, of which the kernel tells nothing, are back within half a minute", settings),
    Test::new("repair: the 99th percentile is under 200 ms", percentile).alone(),
    Test::new("repair: on vxlan the 99th percentile is under 300 ms, with packets flowing", percentile_of_vxlan).alone(),
];

/// The link that the udp backend plans.
const LINK: &str = "flannel0";

fn each_kind() -> Result<()> {
    let (_lab, [a, _b], [p, q]) = cluster(["a", "b"])?;
    let address = base_address(&a)?;
    let damages = [
        (format!("route delete {NETWORK} dev {LINK}"), NETWORK.to_string()),
        (format!("address delete {address} dev {LINK}"), address.trim_end_matches("/32").to_string()),
        (format!("link set {LINK} down"), LINK.to_string()),
        (format!("link set {LINK} mtu 1300"), LINK.to_string()),
        (format!("link delete {LINK}"), LINK.to_string()),
        (format!("route replace {NETWORK} dev eth0"), NETWORK.to_string()),
    ];
    for (damage, lost) in damages {
        let before = a.events()?.len();
        a.ip(&damage)?;
        wait_until(&format!("the repair after `ip {damage}`"), SOON, || whole(&a))?;
        p.reaches(&q, SOON)?;
        q.reaches(&p, SOON)?;
        wait_until("word of the repair", SOON, || {
            let told = a.events()?.split_off(before).into_iter().filter(|event| event.contains(&lost)).count();
            ensure!(told >= 1, "no event after `ip {damage}` names {lost}: {:?}", a.events()?);
            ensure!(told == 1, "`ip {damage}` was told {told} times: {:?}", a.events()?);
            Ok(())
        })?;
    }
    Ok(())
}

fn settings() -> Result<()> {
    let lab = Lab::new("settings")?;
    lab.config(&format!(r#"{{"Network":"{NETWORK}","Backend":{{"Type":"host-gw"}}}}"#))?;
    let nodes = [lab.node("a")?, lab.node("b")?];
    nodes.iter().try_for_each(|node| node.start(Launch::now()))?;
    nodes.iter().try_for_each(|node| node.ready(SOON))?;
    let [a, b] = &nodes;
    a.wait_for_lease(b.subnet()?, SOON)?;
    let changed =
        [("net.ipv4.conf.eth0.rp_filter", "1", "2"), ("net.ipv4.conf.eth0.arp_announce", "0", "2"), ("net.ipv4.ip_forward", "0", "1")];
    let value = |name: &str| a.net().read_sysctl(name);
    for (name, _, wanted) in changed {
        wait_until(&format!("{name} to be set"), SOON, || Ok(ensure!(value(name)? == wanted)))?;
    }
    // Nothing else is a reason for a pass by then.
    std::thread::sleep(Duration::from_secs(5));
    for (name, other, _) in changed {
        a.net().sysctl(name, other)?;
    }
    for (name, _, wanted) in changed {
        wait_until(&format!("{name} to be set again"), Duration::from_secs(40), || {
            Ok(ensure!(value(name)? == wanted, "{}", value(name)?))
        })?;
    }
    Ok(())
}

fn percentile() -> Result<()> {
    let lab = Lab::new("percentile")?;
    lab.network(NETWORK)?;
    let a = lab.node("a")?;
    a.start(Launch::now().flags(&["--repair-limit", "100000"]))?;
    a.ready(SOON)?;
    let address = base_address(&a)?;
    let damages = [
        format!("route delete {NETWORK} dev {LINK}"),
        format!("route replace {NETWORK} dev eth0"),
        format!("address delete {address} dev {LINK}"),
        format!("link delete {LINK}"),
    ];
    let rounds = if long() { 200 } else { 40 };
    let mut took = Vec::new();
    for damage in damages.iter().cycle().take(rounds) {
        whole(&a)?;
        a.ip(damage)?;
        let start = Instant::now();
        while whole(&a).is_err() {
            ensure!(
                start.elapsed() < SOON,
                "no repair after `ip {damage}`: {:#}",
                whole(&a).err().unwrap_or_else(|| anyhow::anyhow!("mended now"))
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        took.push(start.elapsed());
    }
    took.sort();
    let p99 = took[(took.len() * 99).div_ceil(100) - 1];
    ensure!(p99 < Duration::from_millis(200), "p99 of {} repairs is {p99:?}, median {:?}", took.len(), took[took.len() / 2]);
    Ok(())
}

/// Whatever another hand may do to a VXLAN device and what leads over it, again and again under traffic in both directions.
fn percentile_of_vxlan() -> Result<()> {
    const LIMIT: Duration = Duration::from_millis(300);
    let lab = Lab::new("percentile")?;
    lab.config(&format!(r#"{{"Network":"{NETWORK}","Backend":{{"Type":"vxlan"}}}}"#))?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    for node in [&a, &b] {
        node.start(Launch::now().flags(&["--repair-limit", "100000"]))?;
    }
    for node in [&a, &b] {
        node.ready(SOON)?;
    }
    lab.wait_for_routes(&[&a, &b], SOON)?;
    let (p, q) = (a.pod("p1")?, b.pod("p1")?);
    p.reaches(&q, SOON)?;
    let (own, peer, outer, subnet) = (mac(&a)?, mac(&b)?, b.address(), b.subnet()?);
    let (base, gateway) = (base_address(&a)?, subnet.replace("/24", ""));
    let damages = [
        "ip link delete flannel.1".to_string(),
        format!("ip route replace {subnet} via 192.168.50.250 dev eth0"),
        format!("ip route delete {subnet}"),
        format!("bridge fdb delete {peer} dev flannel.1 dst {outer} self"),
        format!("bridge fdb replace {peer} dev flannel.1 dst 192.168.50.250 self permanent"),
        format!("ip neigh change {gateway} dev flannel.1 lladdr 02:00:00:00:00:01 nud permanent"),
        format!("ip neigh delete {gateway} dev flannel.1"),
        "ip link set flannel.1 address 02:00:00:00:00:02".to_string(),
        format!("ip address delete {base} dev flannel.1"),
    ];
    let whole = || {
        leads_to(&a, &b, &peer)?;
        let device = a.ip("-o address show dev flannel.1")?;
        ensure!(mac(&a)? == own && device.contains(&format!(" {base} ")), "{device}");
        Ok(())
    };
    let streams = [flowing(&p, &q)?, flowing(&q, &p)?];
    let mut took = Vec::new();
    for damage in damages.iter().cycle().take(if long() { 200 } else { 27 }) {
        let words: Vec<&str> = damage.split(' ').collect();
        run(a.net().command(words[0])?.args(&words[1..]))?;
        let start = Instant::now();
        wait_until(&format!("the repair after `{damage}`"), SOON, whole)?;
        took.push(start.elapsed());
        streams.iter().try_for_each(goes_on)?;
    }
    took.sort();
    let p99 = took[(took.len() * 99).div_ceil(100) - 1];
    println!("{} repairs: median {:?}, p99 {p99:?}", took.len(), took[took.len() / 2]);
    for stream in streams {
        println!("{}", stream.stop()?);
    }
    ensure!(p99 < LIMIT, "p99 of {} repairs is {p99:?}, median {:?}", took.len(), took[took.len() / 2]);
    Ok(())
}

/// The node's base address with its length, as the udp backend assigns it.
fn base_address(node: &Node) -> Result<String> {
    let subnet = node.subnet()?;
    Ok(format!("{}/32", subnet.split('/').next().unwrap_or_default()))
}

/// Everything that the udp backend planned is in the kernel.
fn whole(node: &Node) -> Result<()> {
    let links = node.ip_json(&format!("address show dev {LINK}"))?;
    let address = base_address(node)?;
    let has = links[0]["addr_info"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|info| format!("{}/{}", info["local"].as_str().unwrap_or(""), info["prefixlen"]) == address);
    ensure!(has, "no address {address}: {links}");
    let up = links[0]["flags"].as_array().into_iter().flatten().any(|flag| flag == "UP");
    ensure!(up && links[0]["mtu"] == 1472, "{links}");
    let routes = node.ip_json(&format!("route show {NETWORK}"))?;
    ensure!(routes.as_array().is_some_and(|routes| routes.len() == 1) && routes[0]["dev"] == LINK, "{routes}");
    Ok(())
}
