//! The TUN device's life: made, re-attached, replaced, lost, taken away; and what is refused, with which words.

use std::sync::Arc;
use std::time::Duration;

use twill_fastpath::{Settings, Tunnels};
use twill_model::item::LinkKind;
use twill_reconcile::ports::Forwarder;

use crate::lab::{Node, PATIENCE, eventually, hear, one_node_and_wire, packet, two_nodes, underlay, wait_for, wired};

fn passes(a: &Node, b: &Node) {
    let at = b.pod(9000);
    a.pod(0).send_to(b"hello", "10.5.2.2:9000").expect("sent");
    let mut buffer = [0; 64];
    assert_eq!(hear(&at, &mut buffer).0, 5);
}

fn index(node: &Node) -> String {
    node.namespace.ip("-o link show flannel0").split(':').next().expect("an index").to_owned()
}

/// Pump threads of devices with that name.
fn threads(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("proc");
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|comm| comm.trim_end().ends_with(&format!(" {name}"))).count()
}

/// How many of them sleep (proc_pid_stat(5)).
fn sleeping(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("proc");
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
    stats.filter(|stat| stat.contains(&format!(" {name}) S "))).count()
}

#[test]
fn a_deleted_device_is_told_of_and_opened_again() {
    let Some((a, b)) = two_nodes(Settings::default()) else { return };
    passes(&a, &b);
    a.namespace.ip("link delete flannel0");
    wait_for(async { tokio::time::timeout(PATIENCE, a.tunnels.changed()).await }).expect("told of the loss");
    assert!(!a.tunnels.holds(&a.link()));
    a.reopen(a.link());
    a.dress();
    assert!(a.tunnels.holds(&a.link()));
    passes(&a, &b);
    eventually("counters and table outlive the device", || a.tunnels.counters()[0].total.sent_packets == 2);
}

#[test]
fn the_pump_that_reads_a_deleted_device_ends_and_the_others_when_told() {
    let Some((a, _b)) = wired(Settings::default()) else { return };
    let mut link = a.link();
    link.on.0 = "doomed0".into();
    a.open(link.clone()).expect("opens");
    eventually("pumps run", || threads("doomed0") == 2);
    a.namespace.ip("link set doomed0 up");
    a.namespace.ip("link delete doomed0");
    // The other one sleeps on its socket until it is told, unless something woke it.
    eventually("the pump that reads it ends", || threads("doomed0") < 2);
    assert!(!a.tunnels.holds(&link));
    a.tunnels.close_all().expect("what is gone is closed");
    // A pump has ended; the thread that takes its context back bears its name until it has one of its own.
    eventually("all end when told", || threads("doomed0") == 0);
}

#[test]
fn a_renamed_device_is_not_held() {
    let Some((a, _b)) = wired(Settings::default()) else { return };
    a.open(a.link()).expect("opens");
    a.namespace.ip("link set flannel0 name other0");
    assert!(!a.tunnels.holds(&a.link()));
}

#[test]
fn a_killed_daemon_leaves_the_device_and_the_next_one_takes_it_up() {
    let Some((mut a, b)) = two_nodes(Settings::default()) else { return };
    let before = index(&a);
    // As a SIGKILL does it: descriptors are closed, and nothing is taken away.
    a.tunnels = Arc::new(Tunnels::new(Settings::default()));
    assert_eq!(index(&a), before);
    a.reopen(a.link());
    a.forward(&[2]);
    assert_eq!(index(&a), before);
    passes(&a, &b);
}

#[test]
fn another_port_or_address_rebinds_and_leaves_the_device() {
    let Some((a, b)) = two_nodes(Settings::default()) else { return };
    let before = index(&a);
    a.namespace.ip("address add 192.0.2.7/24 dev under0");
    let mut link = a.link();
    let LinkKind::Tunnel { port, local } = &mut link.kind else { unreachable!() };
    (*port, local.v4) = (8300, Some(underlay(7)));
    assert!(!a.tunnels.holds(&link));
    a.reopen(link.clone());
    assert!(a.tunnels.holds(&link) && !a.tunnels.holds(&a.link()));
    assert_eq!(index(&a), before);
    a.pod(0).send_to(b"hello", "10.5.2.2:9000").expect("sent");
    eventually("b sees the new address", || b.dropped("unknown-sender") == 1);
    a.reopen(a.link());
    passes(&a, &b);
}

#[test]
fn another_mtu_changes_nothing() {
    let Some((a, _b)) = two_nodes(Settings::default()) else { return };
    let before = index(&a);
    let mut link = a.link();
    link.mtu = 1400;
    assert!(a.tunnels.holds(&link));
    a.open(link).expect("already open");
    assert_eq!(index(&a), before);
}

#[test]
fn a_device_that_is_down_loses_packets_and_is_kept() {
    let Some((node, _other, wire)) = one_node_and_wire() else { return };
    node.namespace.ip("link set flannel0 down");
    wire.send_to(&packet([10, 5, 2, 2], [10, 5, 1, 2], 9000, b"lost"), "192.0.2.1:8285").expect("sent");
    eventually("it is counted", || node.dropped("tun-refused") == 1);
    assert!(node.tunnels.holds(&node.link()));
    node.namespace.ip("link set flannel0 up");
    let pod = node.pod(9000);
    wire.send_to(&packet([10, 5, 2, 2], [10, 5, 1, 2], 9000, b"good"), "192.0.2.1:8285").expect("sent");
    assert_eq!(hear(&pod, &mut [0; 64]).0, 4);
}

#[test]
fn leftovers_of_tun_kind_are_replaced_and_others_refused() {
    let Some((a, _b)) = wired(Settings::default()) else { return };
    a.namespace.ip("tuntap add flannel0 mode tun");
    a.open(a.link()).expect("replaces it");
    let shown = a.namespace.ip("-d link show flannel0");
    assert!(shown.contains("multi_queue") && shown.contains("vnet_hdr") && shown.contains("persist on"), "{shown}");
    a.close().expect("closes");
    for other in ["tuntap add flannel0 mode tap", "link add flannel0 type bridge"] {
        a.namespace.ip(other);
        // A process that another test is just starting may hold a copy of the old socket for a moment, which is then what is refused.
        let refused = || a.open(a.link()).expect_err("not a TUN device").to_string();
        eventually("it is refused for what it is", || refused().contains("an interface flannel0 exists and is not a TUN device"));
        assert!(a.close().expect_err("not ours to remove").to_string().contains("is not a TUN device"));
        a.namespace.ip("link delete flannel0");
    }
}

#[test]
fn close_takes_the_device_away_even_a_leftover() {
    let Some((mut a, _b)) = wired(Settings::default()) else { return };
    let is_there = |node: &Node| node.namespace.ip("-o link").contains("flannel0");
    // A process that another test is just starting may hold a copy of the device for a moment.
    let goes = |node: &Node| eventually("it goes", || !is_there(node));
    a.open(a.link()).expect("opens");
    assert!(is_there(&a));
    a.close().expect("closes");
    goes(&a);
    assert!(a.tunnels.counters().is_empty());
    a.close().expect("already gone");
    a.reopen(a.link());
    a.tunnels = Arc::new(Tunnels::new(Settings::default()));
    assert!(is_there(&a));
    a.close().expect("takes the leftover away");
    goes(&a);
}

#[test]
fn refusals_say_what_to_do() {
    let Some((a, _b)) = wired(Settings::default()) else { return };
    let holder = a.namespace.socket("192.0.2.1:8285");
    let taken = a.open(a.link()).expect_err("the port is taken").to_string();
    assert_eq!(
        taken,
        "cannot bind UDP socket 192.0.2.1:8285: another program has UDP port 8285 (a flanneld, or a second twill?): stop it, or set another Port"
    );
    drop(holder);
    let mut link = a.link();
    let LinkKind::Tunnel { local, .. } = &mut link.kind else { unreachable!() };
    local.v4 = Some(underlay(99));
    assert!(a.open(link.clone()).expect_err("no such address").to_string().contains("this host has no address 192.0.2.99"));
    let LinkKind::Tunnel { local, .. } = &mut link.kind else { unreachable!() };
    local.v4 = None;
    assert!(a.open(link).expect_err("no address").to_string().contains("names no address"));
    assert!(!a.namespace.ip("-o link").contains("flannel0"), "a refused tunnel leaves no device");
}

#[test]
fn an_idle_tunnel_uses_no_cpu() {
    let Some((a, _b)) = wired(Settings::default()) else { return };
    let mut link = a.link();
    link.on.0 = "idle0".into();
    a.open(link).expect("opens");
    // Else the kernel itself sends now and then, housekeeping of IPv6.
    a.namespace.run(|| std::fs::write("/proc/sys/net/ipv6/conf/idle0/disable_ipv6", "1")).expect("written");
    a.namespace.ip("link set idle0 up");
    eventually("pumps run", || threads("idle0") == 2);
    // Nanoseconds on a processor (Documentation/scheduler/sched-stats.rst).
    let used = || -> u64 {
        let tasks = std::fs::read_dir("/proc/self/task").expect("proc").filter_map(|task| Some(task.ok()?.path()));
        let pumps = tasks.filter(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim_end().ends_with(" idle0")));
        let spent = pumps.map(|task| std::fs::read_to_string(task.join("schedstat")).expect("the kernel counts"));
        spent.map(|spent| spent.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).expect("nanoseconds")).sum()
    };
    assert!(used() > 0, "pumps start on a processor");
    eventually("they sleep", || {
        let before = used();
        std::thread::sleep(Duration::from_millis(20));
        used() == before && sleeping("idle0") == 2
    });
    // A while is what is measured here.
    let before = used();
    std::thread::sleep(Duration::from_millis(300));
    let ran = used() - before;
    assert!(ran < 100_000, "pumps of an idle tunnel ran for {ran} ns of 300 ms");
}
