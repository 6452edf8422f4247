//! A sound host has nothing to complain of; each fault alone is found, with its level and something to do.

use std::collections::BTreeMap;
use twill_model::status::PathState;

use twill_model::status::{PathStatus, Snapshot};

use super::super::facts::{InStore, Underlay};
use super::*;

fn sound() -> Facts {
    let sysctls = [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/all/forwarding", "0"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/eth0/rp_filter", "2"),
        ("net/bridge/bridge-nf-call-iptables", "0"),
        ("net/ipv4/neigh/default/gc_thresh3", "1024"),
    ];
    Facts {
        root: true,
        kernel: "6.1.0-13-amd64".into(),
        tun: true,
        sysctls: sysctls.map(|(path, value)| (path.to_owned(), value.to_owned())).into(),
        underlay: Some(Ok(Underlay { name: "eth0".into(), mtu: 1500 })),
        nft: Some(Ok("nftables v1.0.6".into())),
        clock_synchronised: Some(true),
        unix_s: super::machine::PAST + 1,
        api_port: Some(4646),
        state_free: Some(1 << 30),
        store: Some(Ok(InStore { leases: 3, config: Some(r#"{"Network":"10.1.0.0/16","Backend":{"Type":"udp"}}"#.into()) })),
        ..Facts::default()
    }
}

fn with_config(facts: &mut Facts, config: &str) {
    facts.store = Some(Ok(InStore { leases: 3, config: Some(config.into()) }));
}

fn set(facts: &mut Facts, path: &str, value: &str) {
    facts.sysctls.insert(path.into(), value.into());
}

#[test]
fn a_sound_host_has_nothing_to_complain_of() {
    let found = judge(&sound());
    let worst: Vec<&Finding> = found.iter().filter(|finding| finding.level > Level::Note).collect();
    assert!(worst.is_empty(), "{worst:?}");
    let notes: Vec<&str> = found.iter().filter(|finding| finding.level == Level::Note).map(|finding| finding.check).collect();
    assert_eq!(notes, ["daemon"], "only that no daemon runs");
}

#[test]
fn each_fault_alone_is_found() {
    type Fault = fn(&mut Facts);
    let faults: [(&str, Level, &str, Fault); 26] = [
        ("root", Level::Note, "sudo", |facts| facts.root = false),
        ("kernel", Level::Fail, "upgrade", |facts| facts.kernel = "4.19.0".into()),
        ("tun", Level::Fail, "modprobe tun", |facts| facts.tun = false),
        ("state", Level::Fail, "--state-dir", |facts| facts.state_trouble = Some("/var/lib: read-only".into())),
        ("state", Level::Warn, "make room", |facts| facts.state_free = Some(1 << 20)),
        ("clock", Level::Fail, "set it", |facts| facts.unix_s = 1_000),
        ("clock", Level::Note, "chrony", |facts| facts.clock_synchronised = Some(false)),
        ("store", Level::Note, "--store", |facts| facts.store = None),
        ("store", Level::Fail, "meanwhile", |facts| facts.store = Some(Err("connection refused".into()))),
        ("store", Level::Fail, "config set", |facts| facts.store = Some(Ok(InStore::default()))),
        ("store", Level::Fail, "config check", |facts| with_config(facts, "{\"Network\": 7}")),
        ("underlay", Level::Fail, "--iface", |facts| facts.underlay = Some(Err("there is no default route".into()))),
        ("mtu", Level::Warn, "mtu 1500", |facts| facts.underlay = Some(Ok(Underlay { name: "eth0".into(), mtu: 1300 }))),
        ("forwarding", Level::Note, "twill run", |facts| set(facts, "net/ipv4/ip_forward", "0")),
        ("forwarding", Level::Fail, "sysctl -w net.ipv4.ip_forward=1", |facts| {
            set(facts, "net/ipv4/ip_forward", "0");
            facts.forwarding_left = true;
        }),
        ("rp-filter", Level::Note, "rp_filter=2", |facts| {
            set(facts, "net/ipv4/conf/all/rp_filter", "1");
            set(facts, "net/ipv4/conf/eth0/rp_filter", "0");
        }),
        ("rp-filter", Level::Fail, "rp_filter=2", |facts| {
            set(facts, "net/ipv4/conf/eth0/rp_filter", "1");
            with_config(facts, r#"{"Network":"10.1.0.0/16","Backend":{"Type":"host-gw"}}"#);
        }),
        ("firewall", Level::Warn, "nftables", |facts| facts.nft = Some(Err("nft: not found".into()))),
        ("firewall", Level::Fail, "iptables -I FORWARD", |facts| {
            facts.obstacles = vec!["chain FORWARD drops; run: iptables -I FORWARD -j ACCEPT".into()]
        }),
        ("legacy-rules", Level::Note, "iptables-legacy-save", |facts| facts.legacy = vec![("ip", "nat".into())]),
        ("legacy-rules", Level::Fail, "iptables-legacy -I", |facts| {
            facts.legacy = vec![("ip", "filter".into())];
            facts.legacy_drops = vec![":FORWARD DROP".into()];
        }),
        ("bridge-netfilter", Level::Note, "bridge-nf-call-iptables=0", |facts| set(facts, "net/bridge/bridge-nf-call-iptables", "1")),
        ("neighbours", Level::Warn, "gc_thresh3=16384", |facts| {
            facts.store = Some(Ok(InStore { leases: 3_000, config: Some(r#"{"Network":"10.0.0.0/8"}"#.into()) }));
        }),
        ("networkd", Level::Warn, "ManageForeignRoutes=no", |facts| facts.networkd = Some(None)),
        ("network-manager", Level::Warn, "unmanaged-devices", |facts| facts.network_manager = Some(String::new())),
        ("flanneld", Level::Warn, "systemctl", |facts| facts.flanneld = vec![4711]),
    ];
    for (check, level, advice, fault) in faults {
        let mut facts = sound();
        fault(&mut facts);
        let found = judge(&facts);
        let own: Vec<&Finding> = found.iter().filter(|finding| finding.check == check && finding.level == level).collect();
        assert_eq!(own.len(), 1, "{check} {level:?}: {found:#?}");
        assert!(own[0].advice.as_deref().is_some_and(|told| told.contains(advice)), "{check}: {:?}", own[0].advice);
    }
}

#[test]
fn taken_ports_matter_while_no_daemon_runs() {
    let mut facts = sound();
    facts.ports.udp.insert(8285);
    facts.ports.tcp.insert(4646);
    let taken = |facts: &Facts| judge(facts).into_iter().filter(|finding| finding.check == "ports").count();
    assert_eq!(taken(&facts), 2);
    with_config(&mut facts, r#"{"Network":"10.1.0.0/16","Backend":{"Type":"udp","Port":9000}}"#);
    assert_eq!(taken(&facts), 1, "the config has another port");
    facts.daemon = Some(Snapshot::default());
    assert_eq!(taken(&facts), 0, "they are the daemon's own");
}

#[test]
fn settings_that_are_right_are_left_in_peace() {
    let mut facts = sound();
    facts.networkd = Some(Some("no".into()));
    facts.network_manager = Some("unmanaged-devices=interface-name:flannel*".into());
    facts.tun = false;
    with_config(&mut facts, r#"{"Network":"10.1.0.0/16","Backend":{"Type":"vxlan"}}"#);
    let bad: Vec<_> = judge(&facts).into_iter().filter(|finding| finding.level > Level::Note).collect();
    assert!(bad.is_empty(), "{bad:?}");
}

#[test]
fn what_the_running_daemon_complains_of_is_told() {
    let mut facts = sound();
    let mut snapshot = Snapshot::default();
    snapshot.node.ready = true;
    facts.daemon = Some(snapshot.clone());
    assert!(judge(&facts).iter().all(|finding| finding.level <= Level::Note));
    let down = PathStatus { state: PathState::Down, leg: Some("from here to the peer by udp".into()), ..PathStatus::default() };
    let held = PathStatus { state: PathState::Held, way: Some("udp".into()), wanted: Some("vxlan".into()), ..PathStatus::default() };
    snapshot.paths = vec![down, held];
    snapshot.node.pod_mtu = Some(1_499);
    snapshot.node.problems = vec!["route 10.1.2.0/24 is not in place".into()];
    facts.daemon = Some(snapshot);
    let told: BTreeMap<&str, usize> =
        judge(&facts).iter().filter(|finding| finding.level > Level::Note).fold(BTreeMap::new(), |mut all, finding| {
            *all.entry(finding.check).or_default() += 1;
            all
        });
    assert_eq!(told, BTreeMap::from([("daemon", 1), ("mtu", 1), ("paths", 2)]));
}
