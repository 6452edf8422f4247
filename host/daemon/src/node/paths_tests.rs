use twill_model::{Addresses, Lifetime, NodeId, Prefixes};
use twill_probe::track::Missing;

use super::*;

fn peer() -> Lease {
    Lease {
        subnets: Prefixes { v4: "10.1.2.0/24".parse().ok(), v6: None },
        public: Addresses { v4: "192.0.2.2".parse().ok(), v6: None },
        ways: Vec::new(),
        node: Some(NodeId("n2".into())),
        life: Lifetime::Seconds(60),
    }
}

fn pair(name: &str) -> Pair {
    Pair { peer: peer().subnets, way: name.into(), over: 1 }
}

fn weighed(name: &str, verdict: Verdict) -> Weighed {
    Weighed { name: name.into(), unusable: None, pair: Some(pair(name)), verdict }
}

/// The path by these ways, of which `used` is in use.
fn told(used: Option<&str>, ways: Vec<Weighed>) -> PathStatus {
    let silent = Missing { rounds: 3, small_came: false, v4: true, v6: false, bytes: 1450 };
    let report = |weighed: &Weighed| {
        let missing = (weighed.verdict == Verdict::Failed).then_some(silent);
        let now = Instant::now();
        Some((weighed.pair.clone()?, Report { verdict: weighed.verdict, missing, rtt_us: Some(200), next: Some(now), ..Report::default() }))
    };
    let reports = ways.iter().filter_map(report).collect();
    let choice = Choice { way: used.map(str::to_owned), reason: "its first way".into(), ways };
    let outcome = Outcome { ways: [(peer().subnets, choice)].into(), ..Outcome::default() };
    let cluster = Cluster { peers: vec![peer()], ..Cluster::default() };
    paths(&Seen { cluster: &cluster, outcome: &outcome, reports: &reports, now: (Instant::now(), 1_000_000) }).remove(0)
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
    assert_eq!(told(None, Vec::new()).state, PathState::Down);
}
