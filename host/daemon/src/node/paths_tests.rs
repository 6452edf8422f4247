use std::sync::Arc;

use twill_model::status::{ItemStatus, Standing};
use twill_model::{Addresses, Lifetime, NodeId, Prefixes, Way};
use twill_probe::report::Missing;

use super::*;

fn peer() -> Lease {
    Lease {
        subnets: Prefixes { v4: "10.1.2.0/24".parse().ok(), v6: None },
        public: Addresses { v4: "192.0.2.2".parse().ok(), v6: None },
        ways: vec![Way { backend: "udp".into(), options: "{}".into(), data_v4: None, data_v6: None }],
        node: Some(NodeId("n2".into())),
        life: Lifetime::Seconds(60),
    }
}

#[test]
fn a_reservation_that_no_node_uses_has_no_path() {
    let reserved = Lease { ways: Vec::new(), node: None, life: Lifetime::Reserved, ..peer() };
    let of = |lease: Lease| {
        let cluster = Cluster { peers: vec![lease.into()], ..Cluster::default() };
        let (outcome, reports, hosts) = (Outcome::default(), Default::default(), HostsAlive::new());
        paths(&Seen { cluster: &cluster, outcome: &outcome, reports: &reports, hosts: &hosts, now: (Instant::now(), 0) }).len()
    };
    assert_eq!((of(peer()), of(reserved)), (1, 0));
}

fn pair(name: &str) -> Pair {
    Pair { peer: peer().subnets, way: name.into(), over: 1 }
}

fn weighed(name: &str, verdict: Verdict) -> Weighed {
    Weighed { name: name.into(), unusable: None, pair: Some(pair(name)), proof: verdict.into() }
}

/// The path by these ways, of which `used` is in use.
fn told(used: Option<&str>, ways: Vec<Weighed>) -> PathStatus {
    seen(used, ways, false, Vec::new(), &HostsAlive::new())
}

/// The same with more that is known: small echoes come back, items of this node, hosts that answer.
fn seen(used: Option<&str>, ways: Vec<Weighed>, small_came: bool, items: Vec<ItemStatus>, hosts: &HostsAlive) -> PathStatus {
    let silent = Missing { rounds: 3, small_came: Some(small_came), v4: !small_came, v6: false, bytes: 1450 };
    let report = |weighed: &Weighed| {
        let missing = (weighed.proof.verdict == Verdict::Failed).then_some(silent);
        let now = Instant::now();
        Some((
            weighed.pair.clone()?,
            Report { verdict: weighed.proof.verdict, missing, rtt_us: Some(200), next: Some(now), ..Report::default() },
        ))
    };
    let reports = ways.iter().filter_map(report).collect();
    let choice = Choice { way: used.map(str::to_owned), reason: "its first way".into(), ways };
    let outcome = Outcome { items: items.into(), ways: Arc::new([(peer().subnets, choice)].into()), ..Outcome::default() };
    let cluster = Cluster { peers: vec![peer().into()], ..Cluster::default() };
    paths(&Seen { cluster: &cluster, outcome: &outcome, reports: &reports, hosts, now: (Instant::now(), 1_000_000) }).remove(0)
}

#[test]
fn a_path_tells_where_it_stands_and_what_holds_it_back() {
    use Verdict::{Failed, Proved, Unknown};
    let moved = told(Some("vxlan"), vec![weighed("vxlan", Proved), weighed("udp", Unknown)]);
    assert_eq!((moved.state, moved.reason, moved.leg, moved.rtt_us), (PathState::Moved, None, None, Some(200)));
    let proving = told(Some("udp"), vec![weighed("vxlan", Unknown), weighed("udp", Proved)]);
    assert_eq!((proving.state, proving.reason.as_deref()), (PathState::Proving, Some("vxlan: being proved")));
    let held = told(Some("udp"), vec![weighed("vxlan", Failed), weighed("udp", Proved)]);
    assert_eq!((held.state, held.wanted.as_deref()), (PathState::Held, Some("vxlan")));
    assert_eq!(held.reason.as_deref(), Some("vxlan: 3 echoes of IPv4 in a row did not come back"));
    assert_eq!(held.leg.as_deref(), Some("from here to 192.0.2.2 by vxlan"));
    let lacking = Weighed { unusable: Some("not among this node's own ways".into()), pair: None, ..weighed("vxlan", Unknown) };
    let held = told(Some("udp"), vec![lacking, weighed("udp", Proved)]);
    assert_eq!((held.state, held.leg), (PathState::Held, None));
    assert_eq!(held.reason.as_deref(), Some("vxlan: not among this node's own ways"));
    let down = told(Some("udp"), vec![weighed("vxlan", Failed), weighed("udp", Failed)]);
    assert_eq!(down.state, PathState::Down);
    assert_eq!(down.leg.as_deref(), Some("between here and 192.0.2.2: no way answers, udp is kept"));
    assert_eq!(down.stops_at.as_deref(), Some("the road or the peer"));
    assert_eq!(told(None, Vec::new()).state, PathState::Down);
}

fn item(kind: &str, backend: &str, standing: Standing, desired: &str) -> ItemStatus {
    ItemStatus {
        kind: kind.into(),
        what: "10.1.2.0/24".into(),
        desired: Some(desired.into()),
        observed: None,
        standing,
        backend: backend.into(),
        lease: (kind != "link").then(|| peer().subnets),
        reason: None,
    }
}

#[test]
fn a_path_that_is_down_names_the_leg() {
    use Verdict::{Failed, Proved};
    let failed = || vec![weighed("vxlan", Failed)];
    let short = |path: PathStatus| (path.state, path.stops_at.expect("a leg"), path.leg.expect("a sentence"));
    let road = |answers: bool| HostsAlive::from([("192.0.2.2".parse().expect("an address"), answers)]);

    let (state, at, says) = short(seen(Some("vxlan"), failed(), false, Vec::new(), &road(true)));
    assert_eq!((state, at.as_str()), (PathState::Down, "UDP port 8472"));
    assert!(says.contains("the host answers") && says.contains("UDP port 8472 is filtered"), "{says}");
    let (_, at, says) = short(seen(Some("vxlan"), failed(), false, Vec::new(), &road(false)));
    assert_eq!(at, "the host");
    assert!(says.contains("192.0.2.2 does not answer on the underlay either"), "{says}");
    let (_, at, says) = short(seen(Some("vxlan"), failed(), true, Vec::new(), &road(true)));
    assert_eq!(at, "the packet size");
    assert!(says.contains("those of 1450 bytes do not") && says.contains("MTU"), "{says}");
    let (_, at, _) = short(seen(Some("host-gw"), vec![weighed("host-gw", Failed)], false, Vec::new(), &road(true)));
    assert_eq!(at, "packets of host-gw");

    // Echoes leave by their link: they come back while the route is gone.
    let proved = || vec![weighed("vxlan", Proved)];
    let gone = vec![item("fdb", "vxlan", Standing::Missing, "fdb"), item("route", "vxlan", Standing::Missing, "10.1.2.0/24 via 10.1.2.0")];
    let (state, at, says) = short(seen(Some("vxlan"), proved(), false, gone, &HostsAlive::new()));
    assert_eq!((state, at.as_str(), says.as_str()), (PathState::Down, "the route here", "on this node: the route 10.1.2.0/24 is missing"));
    let (_, at, _) = short(seen(Some("vxlan"), proved(), false, vec![item("link", "vxlan", Standing::Failed, "link")], &HostsAlive::new()));
    assert_eq!(at, "the link here");
    for harmless in [
        item("route", "vxlan", Standing::Present, "10.1.2.0/24"),
        item("route", "udp", Standing::Missing, "10.1.2.0/24"),
        item("route", "vxlan", Standing::Missing, "10.1.2.0/24 metric 9 dev x"),
        item("sysctl", "vxlan", Standing::Missing, "1"),
    ] {
        let path = seen(Some("vxlan"), proved(), false, vec![harmless.clone()], &HostsAlive::new());
        assert_eq!((path.state, path.stops_at), (PathState::Moved, None), "{harmless:?}");
    }
}
