use std::sync::{Arc, Mutex};
use std::time::Duration;

use twill_model::firewall::{Family, Ruleset, Table};
use twill_model::item::{Device, Item, Route};
use twill_model::status::Standing;

use super::*;
use crate::files::NamesFile;
use crate::testing::{FakeForwarder, FakeKernel, FakePlanner, PROTOCOL, inputs, lease, lock, net, settings, tun};

struct Lab {
    planner: Arc<FakePlanner>,
    kernel: Arc<FakeKernel>,
    forwarder: Arc<FakeForwarder>,
    told: Arc<Mutex<Vec<String>>>,
    folder: tempfile::TempDir,
}

impl Lab {
    fn new() -> Lab {
        let kernel = Arc::new(FakeKernel::default());
        kernel.add_link("eth0", "veth");
        let forwarder = Arc::new(FakeForwarder { kernel: Arc::clone(&kernel), tables: Mutex::default() });
        let folder = tempfile::tempdir().expect("a folder");
        Lab { planner: Arc::default(), kernel, forwarder, told: Arc::default(), folder }
    }

    fn pass(&self) -> Pass<FakePlanner, FakeKernel, FakeForwarder> {
        let told = Arc::clone(&self.told);
        Pass::new(Wiring {
            planner: Arc::clone(&self.planner),
            kernel: Arc::clone(&self.kernel),
            forwarder: Arc::clone(&self.forwarder),
            settings: settings(),
            names: NamesFile(self.folder.path().join("links.json")),
            tell: Arc::new(move |_, news| lock(&told).push(news.text)),
        })
    }

    fn endpoints(&self) -> Vec<String> {
        let tables = lock(&self.forwarder.tables);
        tables.last().map_or_else(Vec::new, |table| table.endpoints.iter().map(|(to, ..)| to.to_string()).collect())
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.told))
    }
}

#[tokio::test]
async fn a_plan_is_in_force_after_one_pass_and_the_next_writes_nothing() {
    let lab = Lab::new();
    let mut pass = lab.pass();
    let (outcome, wake) = pass.run(&inputs(&[2, 3])).await.expect("a look");
    assert!(outcome.in_force, "{:?}", outcome.problems);
    assert_eq!(outcome.pod_mtu, Some(1472));
    assert_eq!(wake, None);
    assert_eq!(lab.endpoints(), ["10.1.2.0/24", "10.1.3.0/24"]);
    let writes = lab.kernel.take_writes();
    let place = |what: &str| writes.iter().position(|write| write.contains(what)).unwrap_or_else(|| panic!("no {what} in {writes:?}"));
    assert!(place("make link flannel0") < place("make address") && place("make address") < place("make route"), "{writes:?}");
    assert!(writes.iter().any(|write| write == "set net/ipv4/conf/flannel0/accept_local"), "{writes:?}");

    let tables = lock(&lab.forwarder.tables).len();
    let asked = *lock(&lab.planner.asked);
    pass.run(&inputs(&[2, 3])).await.expect("a look");
    assert_eq!(lab.kernel.take_writes(), [""; 0]);
    assert_eq!(lock(&lab.forwarder.tables).len(), tables, "an equal table is not swapped");
    assert_eq!(*lock(&lab.planner.asked), asked, "equal inputs are answered from memory");
}

#[tokio::test]
async fn a_kernel_that_cannot_be_looked_at_costs_nothing_of_what_is_known() {
    let lab = Lab::new();
    let mut pass = lab.pass();
    let (known, _) = pass.run(&inputs(&[2])).await.expect("a look");
    *lock(&lab.kernel.hidden) = Some("out of memory".into());
    let refused = pass.run(&inputs(&[2])).await.expect_err("there is nothing to see");
    let told = known.after_no_look(&refused);
    assert!(!told.in_force && told.problems.iter().any(|problem| problem.contains("out of memory")), "{:?}", told.problems);
    assert!(!known.targets.is_empty() && told.targets == known.targets, "what was being proved is proved on");
    assert!(!known.ways.is_empty() && told.ways == known.ways && told.underlay_mark == known.underlay_mark);
    *lock(&lab.kernel.hidden) = None;
    assert!(pass.run(&inputs(&[2])).await.expect("a look").0.no_look.is_none());
}

#[tokio::test]
async fn one_new_peer_costs_two_calls() {
    let lab = Lab::new();
    let mut pass = lab.pass();
    pass.run(&inputs(&[2, 3])).await.expect("a look");
    let asked = *lock(&lab.planner.asked);
    pass.run(&inputs(&[2, 3, 4])).await.expect("a look");
    assert_eq!(*lock(&lab.planner.asked) - asked, 2);
}

#[tokio::test]
async fn a_lost_link_is_back_with_all_that_stood_on_it_and_told_once() {
    let lab = Lab::new();
    let mut pass = lab.pass();
    pass.run(&inputs(&[2])).await.expect("a look");
    lab.told();
    lab.kernel.lose_link("flannel0");
    let (outcome, _) = pass.run(&inputs(&[2])).await.expect("a look");
    assert!(outcome.in_force, "{:?}", outcome.problems);
    assert!(lab.kernel.routes().contains("10.1.0.0/16 dev flannel0"));
    let told = lab.told();
    assert_eq!(told.len(), 1, "{told:?}");
    for lost in ["link flannel0", "address 10.1.1.0/32", "route 10.1.0.0/16"] {
        assert!(told[0].contains(lost), "{told:?}");
    }
    assert_eq!(lab.endpoints(), ["10.1.2.0/24"], "the device made anew has its table");
}

#[tokio::test]
async fn a_fight_over_an_item_is_given_up_and_said() {
    let lab = Lab::new();
    let mut pass = lab.pass();
    pass.run(&inputs(&[])).await.expect("a look");
    for _ in 0..4 {
        lab.kernel.lose_link("flannel0");
        pass.run(&inputs(&[])).await.expect("a look");
    }
    assert!(lab.told().iter().any(|text| text.contains("is left alone") && text.contains("NetworkManager")));
    assert_eq!(lab.kernel.routes().len(), 0);
}

#[tokio::test]
async fn unknown_is_not_empty() {
    let lab = Lab::new();
    lab.kernel.add_route("10.1.9.0/24", "eth0", PROTOCOL);
    let mut pass = lab.pass();
    let incomplete = Inputs { complete: false, ..inputs(&[2]) };
    pass.run(&incomplete).await.expect("a look");
    assert!(lab.kernel.routes().contains("10.1.9.0/24 dev eth0"), "nothing goes before the store was read");
    *lock(&lab.planner.broken) = true;
    lab.pass().run(&inputs(&[2])).await.expect("a look");
    assert!(lab.kernel.routes().contains("10.1.9.0/24 dev eth0"), "nothing goes while a backend has not spoken");
    *lock(&lab.planner.broken) = false;
    pass.run(&inputs(&[2])).await.expect("a look");
    assert!(!lab.kernel.routes().contains("10.1.9.0/24 dev eth0"), "now it goes");
}

#[tokio::test]
async fn a_plugin_that_fails_leaves_its_last_good_plan_in_force() {
    let lab = Lab::new();
    let mut pass = lab.pass();
    pass.run(&inputs(&[2])).await.expect("a look");
    *lock(&lab.planner.broken) = true;
    let (outcome, wake) = pass.run(&inputs(&[2, 3])).await.expect("a look");
    assert!(outcome.problems.iter().any(|problem| problem.contains("trapped")), "{:?}", outcome.problems);
    assert_eq!(lab.endpoints(), ["10.1.2.0/24"]);
    *lock(&lab.planner.broken) = false;
    tokio::time::sleep_until(wake.expect("it is asked again").into()).await;
    pass.run(&inputs(&[2, 3])).await.expect("a look");
    assert_eq!(lab.endpoints(), ["10.1.2.0/24", "10.1.3.0/24"]);
}

#[tokio::test]
async fn a_lease_that_makes_the_plugin_fail_waits_by_itself() {
    let lab = Lab::new();
    let mut pass = lab.pass();
    lock(&lab.planner.poison).insert(lease(2).subnets);
    lab.kernel.add_route("10.1.2.0/24", "eth0", PROTOCOL);
    lab.kernel.add_route("10.1.9.0/24", "eth0", PROTOCOL);
    pass.run(&inputs(&[2])).await.expect("a look");
    let routes = lab.kernel.routes();
    assert!(routes.contains("10.1.2.0/24 dev eth0"), "what is there for it stays: {routes:?}");
    assert!(!routes.contains("10.1.9.0/24 dev eth0"), "what is nobody's goes: {routes:?}");
    let asked = *lock(&lab.planner.asked);
    let (outcome, _) = pass.run(&inputs(&[2, 3])).await.expect("a look");
    assert_eq!(*lock(&lab.planner.asked) - asked, 2, "only the new peer is asked about");
    assert_eq!(lab.endpoints(), ["10.1.3.0/24"]);
    assert!(outcome.in_force, "one peer's trouble keeps nobody else from working");
    assert!(
        outcome.problems.iter().any(|problem| problem.contains("10.1.2.0/24") && problem.contains("trapped")),
        "{:?}",
        outcome.problems
    );
}

#[tokio::test]
async fn what_policy_refuses_is_named_and_the_rest_applied() {
    let lab = Lab::new();
    let wild =
        |to: &str, on: Device| Item::Route(Route { to: net(to), via: None, on, onlink: false, scope_global: true, mtu: None, metric: 0 });
    *lock(&lab.planner.extra) =
        vec![wild("0.0.0.0/0", tun()), wild("198.51.100.0/24", tun()), wild("10.1.2.0/24", Device::Link("eth0".into()))];
    let (outcome, _) = lab.pass().run(&inputs(&[2])).await.expect("a look");
    let refused: Vec<_> = outcome.items.iter().filter(|item| item.standing == Standing::Refused).collect();
    assert_eq!(refused.len(), 3, "{:?}", outcome.problems);
    assert!(
        outcome.problems.iter().all(|problem| problem.contains("\"udp\"") && problem.contains("10.1.2.0/24")),
        "{:?}",
        outcome.problems
    );
    assert_eq!(lab.endpoints(), ["10.1.2.0/24"]);
    assert!(outcome.in_force);
}

#[tokio::test]
async fn foreign_routes_are_left_alone_and_a_lost_peer_drains() {
    let lab = Lab::new();
    lab.kernel.add_route("10.1.77.0/24", "eth0", 4);
    lab.kernel.add_route("203.0.113.0/24", "eth0", PROTOCOL);
    let mut pass = lab.pass();
    pass.run(&inputs(&[2, 3])).await.expect("a look");
    let (_, wake) = pass.run(&inputs(&[3])).await.expect("a look");
    assert!(wake.is_some_and(|wake| wake <= Instant::now() + Duration::from_secs(2)), "the drain ends by itself");
    assert_eq!(lab.endpoints(), ["10.1.3.0/24", "10.1.2.0/24"], "packets under way still find the peer");
    let routes = lab.kernel.routes();
    assert!(routes.contains("10.1.77.0/24 dev eth0") && routes.contains("203.0.113.0/24 dev eth0"), "{routes:?}");
}

#[tokio::test]
async fn what_stood_in_the_old_network_goes_with_it() {
    let lab = Lab::new();
    let mut pass = lab.pass();
    pass.run(&inputs(&[])).await.expect("a look");
    let mut moved = inputs(&[]);
    moved.networks = Prefixes { v4: "10.2.0.0/16".parse().ok(), v6: None };
    moved.mine.subnets = Prefixes { v4: "10.2.1.0/24".parse().ok(), v6: None };
    pass.run(&moved).await.expect("a look");
    assert_eq!(lab.kernel.routes(), BTreeSet::from(["10.2.0.0/16 dev flannel0".to_owned()]));
    let (_, wake) = pass.run(&moved).await.expect("a look");
    tokio::time::sleep_until(wake.expect("the old address drains").into()).await;
    pass.run(&moved).await.expect("a look");
    let addresses: Vec<String> = lock(&lab.kernel.state).addresses.iter().map(|a| a.address.to_string()).collect();
    assert_eq!(addresses, ["10.2.1.0/32"]);
}

#[tokio::test]
async fn a_restarted_daemon_finds_its_own_device_again() {
    let lab = Lab::new();
    lab.pass().run(&inputs(&[2])).await.expect("a look");
    lab.kernel.take_writes();
    let (outcome, _) = lab.pass().run(&inputs(&[2])).await.expect("a look");
    assert!(outcome.in_force);
    assert_eq!(lab.kernel.take_writes(), [""; 0], "what equals the plan is adopted as it is");
}

#[tokio::test]
async fn rules_are_part_of_a_pass_and_their_failure_leaves_the_rest_in_force() {
    let lab = Lab::new();
    let mut pass = lab.pass();
    let wanted =
        Inputs { firewall: Some(Ruleset { table: "twill".into(), tables: vec![one_table()], ..Ruleset::default() }), ..inputs(&[2]) };
    *lock(&lab.kernel.filter_refuses) = Some("nft is not installed".into());
    let (outcome, wake) = pass.run(&wanted).await.expect("a look");
    assert!(outcome.in_force && outcome.problems == ["cannot read the rules: nft is not installed"], "{:?}", outcome.problems);
    *lock(&lab.kernel.filter_refuses) = None;
    tokio::time::sleep_until(wake.expect("it is tried again").into()).await;
    let (outcome, wake) = pass.run(&wanted).await.expect("a look");
    assert_eq!((outcome.problems, wake), (vec![], None));
    assert!(outcome.items.iter().any(|item| item.what == "ip twill" && item.standing == Standing::Present));
    lab.kernel.take_writes();
    pass.run(&wanted).await.expect("a look");
    assert_eq!(lab.kernel.take_writes(), [""; 0]);
}

fn one_table() -> Table {
    Table { family: Family::Ip, chains: vec![] }
}
