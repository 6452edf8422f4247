//! Pains of flannel's users with packet filter rules, a test each, named after its thread: what is lost, and how long until it is right again.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::harness::{Need, Test, long};
use lab::netns::NetNs;
use lab::{Node, wait_until};

use crate::firewall::{IPTABLES, each, masked, masked_over, sees, switch_address};
use crate::iptables::{by_hand, saved};
use crate::story::{SOON, flowing, goes_on};
use crate::toll::Toll;

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("pains: fl1337_nat_rules_missing_doubled_or_in_the_wrong_order", fl1337_nat_rules_missing_doubled_or_in_the_wrong_order)
        .needs(IPTABLES)
        .alone(),
    Test::new("pains: fl1913_nothing_is_written_while_nothing_is_wrong", fl1913_nothing_is_written_while_nothing_is_wrong).needs(IPTABLES),
    Test::new("pains: fl1317_rules_in_the_iptables_that_nobody_reads", fl1317_rules_in_the_iptables_that_nobody_reads).needs(LEGACY),
    Test::new("pains: fl799_forward_policy_drop", fl799_forward_policy_drop).needs(IPTABLES),
    Test::new("pains: fl1004_ports_clash_behind_masquerade", fl1004_ports_clash_behind_masquerade).needs(IPTABLES),
    Test::new("pains: fl1679_translated_twice", fl1679_translated_twice).needs(IPTABLES),
    Test::new("pains: fl964_the_clients_address_is_lost", fl964_the_clients_address_is_lost).needs(IPTABLES),
];

const LEGACY: &[Need] = &[Need::Works(&["iptables-legacy", "-L", "FORWARD"])];

/// The bound of the 99th percentile of repairs, under traffic.
const P99: Duration = Duration::from_millis(300);

/// The own rules as their program lists them.
fn rules(node: &Node, iptables: bool) -> Result<String> {
    if iptables { Ok(saved(node)?.concat()) } else { by_hand(node, "nft list table ip twill") }
}

/// The time within which 99 of 100 were done.
fn p99(times: &mut [Duration]) -> Duration {
    times.sort();
    times[(times.len() * 99).div_ceil(100) - 1]
}

/// Rules are flushed, deleted, doubled and put in another order under traffic: no packet between pods is lost, and 99 of 100 repairs take less than 300 ms.
fn fl1337_nat_rules_missing_doubled_or_in_the_wrong_order() -> Result<()> {
    let in_nft = [
        "nft flush ruleset",
        "nft flush chain ip twill postrouting",
        "nft insert rule ip twill postrouting ip saddr 10.50.0.0/16 masquerade",
        "nft add rule ip twill forward ip daddr 10.50.0.0/16 accept",
    ];
    let in_iptables = [
        "nft flush ruleset",
        "iptables -t nat -F FLANNEL-POSTRTG",
        "iptables -t nat -A POSTROUTING -j FLANNEL-POSTRTG",
        "iptables -t nat -I FLANNEL-POSTRTG -s 10.50.0.0/16 -j MASQUERADE",
    ];
    each(&["--ip-masq", "--repair-limit=100000"], |lab, [a, _], [p, q], iptables| {
        let damages = if iptables { in_iptables } else { in_nft };
        let whole = wait_until("the rules", SOON, || {
            let rules = rules(a, iptables)?;
            ensure!(rules.contains("224.0.0.0/4"), "{rules}");
            Ok(rules)
        })?;
        let streams = [flowing(p, q)?, flowing(q, p)?];
        let mut took = Vec::new();
        for damage in damages.iter().cycle().take(if long() { 200 } else { 24 }) {
            by_hand(a, damage)?;
            let began = Instant::now();
            wait_until(&format!("the repair after `{damage}`"), SOON, || {
                let now = rules(a, iptables)?;
                ensure!(now == whole, "{now}");
                Ok(())
            })?;
            took.push(began.elapsed());
            streams.iter().try_for_each(goes_on)?;
        }
        for stream in streams {
            stream.stop()?.nothing_lost()?;
        }
        sees(lab.switch(), switch_address(lab)?, p.net(), p.address(), a.address())?;
        let p99 = p99(&mut took);
        println!("iptables: {iptables}: {} repairs, median {:?}, p99 {p99:?}, no packet lost", took.len(), took[took.len() / 2]);
        ensure!(p99 < P99, "p99 of {} repairs is {p99:?}, median {:?}", took.len(), took[took.len() / 2]);
        Ok(())
    })
}

/// flannel made rules anew every five seconds where IPv6 was off. Here the rules that were made first are still the same ones, by their handles.
fn fl1913_nothing_is_written_while_nothing_is_wrong() -> Result<()> {
    let (_lab, [a, b], [p, q]) = masked(&["--ip-masq", "--firewall=iptables"])?;
    let plain = |node: &Node| by_hand(node, "nft -a list ruleset").map(without_counters);
    b.stop()?;
    b.start(lab::Launch::now().flags(&["--ip-masq"]))?;
    b.ready(SOON)?;
    p.reaches(&q, SOON)?;
    wait_until("rules of both kinds", SOON, || {
        ensure!(plain(&a)?.contains("FLANNEL-POSTRTG") && plain(&b)?.contains("table ip twill"), "{}\n{}", plain(&a)?, plain(&b)?);
        Ok(())
    })?;
    let before = (plain(&a)?, plain(&b)?);
    // Longer than flannel's period, with passes in between that change something else.
    let until = Instant::now() + Duration::from_secs(7);
    while Instant::now() < until {
        a.ip("route delete 10.50.0.0/16 dev flannel0")?;
        p.reaches(&q, SOON)?;
        std::thread::sleep(Duration::from_millis(900));
    }
    ensure!(
        (plain(&a)?, plain(&b)?) == before,
        "rules were written anew:\n{}\n{}\ninstead of\n{}\n{}",
        plain(&a)?,
        plain(&b)?,
        before.0,
        before.1
    );
    Ok(())
}

/// nft's listing without "packets N bytes N".
fn without_counters(listing: String) -> String {
    let mut words = listing.split(' ');
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        kept.push(word);
        if matches!(word, "packets" | "bytes") {
            words.next();
        }
    }
    kept.join(" ")
}

/// Rules of a stopped flanneld in iptables-legacy go though ours are elsewhere, and what drops there is named with the command that opens it.
fn fl1317_rules_in_the_iptables_that_nobody_reads() -> Result<()> {
    let (_lab, [a, _b], [p, q]) = masked_over("vxlan", &["--ip-masq"])?;
    // The kernel tells nobody of a change there, so that a look is taken every five seconds.
    let toll = Toll::of("fl1317", [flowing(&p, &q)?, flowing(&q, &p)?]).within(Duration::from_secs(8));
    a.stop()?;
    for words in
        ["-t nat -N FLANNEL-POSTRTG", "-t nat -A FLANNEL-POSTRTG -s 10.50.0.0/16 -j MASQUERADE", "-t nat -A POSTROUTING -j FLANNEL-POSTRTG"]
    {
        by_hand(&a, &format!("iptables-legacy {words}"))?;
    }
    let start = || {
        a.start(lab::Launch::now().flags(&["--ip-masq"]))?;
        a.ready(SOON)
    };
    toll.damage("rules that flanneld left", start, || {
        let left = by_hand(&a, "iptables-legacy-save")?;
        ensure!(!left.contains("FLANNEL"), "{left}");
        Ok(())
    })?;
    let commands = "iptables-legacy -I FORWARD -s 10.50.0.0/16 -j ACCEPT && iptables-legacy -I FORWARD -d 10.50.0.0/16 -j ACCEPT";
    let problems = || Ok::<_, anyhow::Error>(a.api("node")?["problems"].to_string());
    let drops = || {
        by_hand(&a, "iptables-legacy -P FORWARD DROP")?;
        ensure!(p.ping(&q).is_err(), "packets pass a policy that drops");
        Ok(())
    };
    toll.damage("a policy that drops, until the command that is named was given", drops, || {
        ensure!(problems()?.contains(commands), "{}", problems()?);
        commands.split(" && ").try_for_each(|command| by_hand(&a, command).map(drop))
    })?;
    wait_until("the problem's end", SOON, || Ok(ensure!(problems()? == "[]", "{}", problems()?)))?;
    toll.pay(10_000)
}

/// Docker and firewalls set FORWARD's policy to DROP under traffic: with rules of either kind packets flow again within a second.
fn fl799_forward_policy_drop() -> Result<()> {
    each(&["--ip-masq"], |_, [a, b], [p, q], iptables| {
        let stream = flowing(p, q)?;
        for node in [a, b] {
            by_hand(node, "iptables -P FORWARD DROP")?;
            by_hand(node, "iptables -A FORWARD -i nowhere -j DROP")?;
        }
        goes_on(&stream)?;
        let report = stream.stop()?;
        println!("iptables: {iptables}: {report}");
        ensure!(report.longest_silence < Duration::from_secs(1), "{report}");
        ensure!(!iptables || report.lost.is_empty(), "flannel's rules were there before the policy: {report}");
        // What the operator drops before our rules stays dropped.
        by_hand(a, &format!("iptables -I FORWARD -d {} -j DROP", q.address()))?;
        wait_until("the operator's own drop", SOON, || Ok(ensure!(p.ping(q).is_err(), "pings pass")))?;
        [a, b].iter().try_for_each(|node| by_hand(node, "nft flush ruleset").map(drop))
    })
}

/// Many pods' connections from the same port to the same service at the same time: each has a port of its own, none is lost, and all are answered within seconds.
fn fl1004_ports_clash_behind_masquerade() -> Result<()> {
    const ROUNDS: u16 = 100;
    let (lab, [a, _b], [p, q]) = masked(&["--ip-masq"])?;
    let p2 = a.pod("p2")?;
    let server = lab.switch().inside(|| Ok(UdpSocket::bind((switch_address(&lab)?, 0))?))?;
    server.set_read_timeout(Some(Duration::from_secs(2)))?;
    let to = server.local_addr()?;
    let clients: Vec<UdpSocket> =
        (0..ROUNDS).flat_map(|round| [&p, &p2].map(|pod| client(pod.net(), pod.address(), 20_000 + round, to))).collect::<Result<_>>()?;
    let toll = Toll::of("fl1004", [flowing(&p, &q)?, flowing(&q, &p)?]);
    let ask = || clients.iter().try_for_each(|client| Ok(client.send(b"who am I").map(drop)?));
    let mut seen = BTreeSet::new();
    toll.damage("two pods ask by the same ports at once", ask, || {
        while seen.len() < clients.len() {
            let (_, from) = server.recv_from(&mut [0; 64]).context("a datagram was lost")?;
            ensure!(from.ip() == a.address(), "{from} was not masqueraded");
            ensure!(seen.insert(from), "{from} stands for two");
            server.send_to(b"you are", from)?;
        }
        let answered = clients.iter().filter(|client| client.recv(&mut [0; 64]).is_ok()).count();
        ensure!(answered == clients.len(), "{answered} answers to {} questions", clients.len());
        Ok(())
    })?;
    toll.pay(0)
}

fn client(net: &NetNs, address: Ipv4Addr, port: u16, to: SocketAddr) -> Result<UdpSocket> {
    let socket = net.inside(|| Ok(UdpSocket::bind((address, port))?))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    Ok(socket)
}

/// What Kubernetes marks for its own translation is translated once, by Kubernetes: ours, which stand first or last, let it be.
fn fl1679_translated_twice() -> Result<()> {
    each(&["--ip-masq"], |lab, [a, b], [p, q], iptables| {
        let kube: Ipv4Addr = "192.168.50.200".parse()?;
        let outside = switch_address(lab)?;
        let toll = Toll::of("fl1679", [flowing(p, q)?, flowing(q, p)?]);
        let marks = format!(
            "table ip kube {{\n chain marks {{\n type filter hook forward priority -10;\n ip saddr {} ip daddr {outside} meta mark set mark or 0x4000\n }}\n \
             chain translates {{\n type nat hook postrouting priority 110;\n meta mark and 0x4000 == 0x4000 snat to {kube}\n }}\n}}\n",
            p.address()
        );
        let seen = |as_whom: Ipv4Addr| sees(lab.switch(), outside, p.net(), p.address(), as_whom);
        let what = format!("Kubernetes marks and translates, iptables: {iptables}");
        toll.damage(&what, || a.net().nft(&marks), || seen(kube))?;
        sees(lab.switch(), outside, q.net(), q.address(), b.address()).context("not marked")?;
        toll.damage("it marks no more", || a.net().nft("delete table ip kube\n"), || seen(a.address()))?;
        toll.pay(0)
    })
}

/// Clients from outside are seen by pods as they are: through the node, by a published port, and from the pod's own host; between pods too.
fn fl964_the_clients_address_is_lost() -> Result<()> {
    each(&["--ip-masq"], |lab, [a, _], [p, q], iptables| {
        let outside = switch_address(lab)?;
        let toll = Toll::of("fl964", [flowing(p, q)?, flowing(q, p)?]);
        let route = || lab.switch().ip(&format!("route replace {} via {}", a.subnet()?, a.address())).map(drop);
        toll.damage(&format!("clients come by a route, iptables: {iptables}"), route, || {
            sees(p.net(), p.address(), lab.switch(), outside, outside).context("the outside to a pod")?;
            sees(p.net(), p.address(), a.net(), a.address(), a.address()).context("the host to its pod")?;
            sees(q.net(), q.address(), p.net(), p.address(), p.address()).context("a pod to another node's pod")
        })?;
        let ear = p.net().inside(|| Ok(UdpSocket::bind((p.address(), 0))?))?;
        ear.set_read_timeout(Some(Duration::from_millis(300)))?;
        let mouth = lab.switch().inside(|| Ok(UdpSocket::bind((outside, 0))?))?;
        let port = ear.local_addr()?.port();
        let publish = format!(
            "table ip published {{\n chain publishes {{\n type nat hook prerouting priority -100;\n ip daddr {} udp dport {port} dnat to {}\n }}\n}}\n",
            a.address(),
            p.address()
        );
        toll.damage(
            "a port is published",
            || a.net().nft(&publish),
            || {
                mouth.send_to(b"who am I", (a.address(), port))?;
                let (_, from) = ear.recv_from(&mut [0; 64])?;
                ensure!(from.ip() == outside, "{from} is seen instead of {outside}");
                Ok(())
            },
        )?;
        a.net().nft("delete table ip published\n")?;
        toll.pay(0)
    })
}
