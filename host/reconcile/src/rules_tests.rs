use std::sync::{Arc, Mutex};

use twill_model::firewall::{Action, Chain, Entrance, Hook, Match, Rule, Table};

use super::*;
use crate::testing::{FakeKernel, lock};

const LIMIT: usize = 3;

fn ruleset(network: &str) -> Ruleset {
    let rule = Rule { when: vec![Match::From(network.parse().expect("a prefix"))], then: Action::Accept, comment: String::new() };
    let chains = vec![Chain { hook: Hook::Forward, rules: vec![rule] }];
    Ruleset { table: "twill".into(), tables: vec![Table { family: Family::Ip, chains }], ..Ruleset::default() }
}

struct Lab {
    kernel: FakeKernel,
    rules: Rules,
    told: Arc<Mutex<Vec<String>>>,
}

impl Lab {
    fn new() -> Lab {
        Lab { kernel: FakeKernel::default(), rules: Rules::default(), told: Arc::default() }
    }

    async fn pass(&mut self, wanted: &Ruleset) -> RulesReport {
        let told = Arc::clone(&self.told);
        let tell: Tell = Arc::new(move |_, news| lock(&told).push(news.text));
        self.rules.settle(&self.kernel, Some(wanted), LIMIT, &tell).await
    }

    fn flush(&self) {
        lock(&self.kernel.filter).ours.tables.clear();
    }
}

#[tokio::test]
async fn equal_rules_are_not_written_again() {
    let mut lab = Lab::new();
    let report = lab.pass(&ruleset("10.1.0.0/16")).await;
    assert_eq!(report.problems, [""; 0]);
    assert_eq!(report.items[0].desired.as_deref(), Some("1 rule in forward"));
    assert_eq!(report.items[0].standing, Standing::Present);
    assert_eq!(lab.kernel.take_writes(), ["rules table ip twill"]);
    lab.pass(&ruleset("10.1.0.0/16")).await;
    assert_eq!(lab.kernel.take_writes(), [""; 0]);
    assert_eq!(lock(&lab.told).len(), 0);
}

#[tokio::test]
async fn flushed_rules_are_back_and_told_once_and_other_wishes_are_no_repair() {
    let mut lab = Lab::new();
    lab.pass(&ruleset("10.1.0.0/16")).await;
    lab.flush();
    lab.pass(&ruleset("10.1.0.0/16")).await;
    assert_eq!(lock(&lab.kernel.filter).ours, ruleset("10.1.0.0/16"));
    assert_eq!(lock(&lab.told).len(), 1);
    assert!(lock(&lab.told)[0].starts_with("table ip twill: gone or changed by another hand"));
    lab.pass(&ruleset("10.2.0.0/16")).await;
    assert_eq!(lock(&lab.kernel.filter).ours, ruleset("10.2.0.0/16"));
    assert_eq!(lock(&lab.told).len(), 1);
}

#[tokio::test]
async fn a_fight_is_given_up_and_said() {
    let mut lab = Lab::new();
    for _ in 0..=LIMIT + 1 {
        lab.pass(&ruleset("10.1.0.0/16")).await;
        lab.flush();
    }
    lab.kernel.take_writes();
    let report = lab.pass(&ruleset("10.1.0.0/16")).await;
    assert_eq!(lab.kernel.take_writes(), [""; 0]);
    assert_eq!(report.problems, ["table ip twill: not in place"]);
    assert!(lock(&lab.told).iter().any(|text| text.contains("left alone for 30 s")));
    assert!(lab.rules.next(Instant::now()).is_some(), "it is tried again later");
}

#[tokio::test]
async fn a_filter_that_cannot_be_had_is_a_problem_and_tried_later() {
    let mut lab = Lab::new();
    *lock(&lab.kernel.filter_refuses) = Some("nft is not installed".into());
    let report = lab.pass(&ruleset("10.1.0.0/16")).await;
    assert_eq!(report.problems, ["cannot read the rules: nft is not installed"]);
    assert_eq!(report.items[0].standing, Standing::Failed);
    let again = lab.pass(&ruleset("10.1.0.0/16")).await;
    assert_eq!(again.problems, report.problems, "the problem stays while it is not tried again");
    *lock(&lab.kernel.filter_refuses) = None;
    tokio::time::sleep_until(lab.rules.next(Instant::now()).expect("a retry").into()).await;
    assert_eq!(lab.pass(&ruleset("10.1.0.0/16")).await.problems, [""; 0]);
    assert_eq!(lab.rules.next(Instant::now()), None);
}

#[tokio::test]
async fn what_stands_in_the_way_is_passed_on() {
    let mut lab = Lab::new();
    lock(&lab.kernel.filter).obstacles = vec!["chain FORWARD drops packets".into()];
    let report = lab.pass(&ruleset("10.1.0.0/16")).await;
    assert_eq!(report.problems, ["chain FORWARD drops packets"]);
    let item = report.items.iter().find(|item| item.kind == "firewall").expect("it is an item too");
    assert_eq!((item.what.as_str(), item.standing), ("chain FORWARD", Standing::Missing));
}

#[tokio::test]
async fn what_is_left_over_goes_with_one_word_and_a_lost_entrance_is_a_repair() {
    let mut lab = Lab::new();
    {
        let mut filter = lock(&lab.kernel.filter);
        filter.ours = ruleset("10.1.0.0/16");
        filter.left_over = vec!["table ip flannel-ipv4".into()];
        filter.entrances = vec![Entrance { what: "jump from FORWARD to FLANNEL-FWD".into(), in_place: false }];
    }
    let report = lab.pass(&ruleset("10.1.0.0/16")).await;
    assert_eq!(report.problems, [""; 0]);
    assert_eq!(*lock(&lab.told), ["table ip twill in force; taken away: table ip flannel-ipv4"]);
    let lines: Vec<_> = report.items.iter().map(|item| (item.what.as_str(), item.standing)).collect();
    assert_eq!(lines, [("ip twill", Standing::Present), ("jump from FORWARD to FLANNEL-FWD", Standing::Present)]);
    lock(&lab.kernel.filter).entrances[0].in_place = false;
    lab.pass(&ruleset("10.1.0.0/16")).await;
    assert!(lock(&lab.told)[1].contains("changed by another hand"), "{:?}", lock(&lab.told));
    assert!(lock(&lab.kernel.filter).entrances[0].in_place);
}
