use proptest::prelude::*;
use twill_model::Prefixes;
use twill_model::proof::Proof;

use super::*;
use crate::track::SMALL;

fn leg(number: u8, checksum: bool) -> Leg {
    let to = IpAddr::from([10, 1, number, 0]);
    Leg { link: LinkName("flannel.1".into()), from: IpAddr::from([10, 1, 1, 0]), to, bytes: 1450, checksum }
}

fn target(number: u8) -> Target {
    let peer = Prefixes { v4: format!("10.1.{number}.0/24").parse().ok(), v6: None };
    let pair = Pair { peer, way: "vxlan".into(), over: 1 };
    Target { pair, rank: 0, in_use: false, legs: vec![leg(number, false)] }
}

fn verdict(prober: &Prober, number: u8) -> Verdict {
    prober.proofs().get(&target(number).pair).copied().unwrap_or_default().verdict
}

/// Goes on for a while in steps of 50 ms. `answers` says of each packet whether it is answered, after one step. Counts what was sent.
fn go_on(prober: &mut Prober, now: &mut Instant, span: Duration, answers: impl Fn(&Shot) -> bool) -> usize {
    let end = *now + span;
    let mut sent = 0;
    while *now < end {
        let (shots, _) = prober.turn(*now);
        *now += Duration::from_millis(50);
        sent += shots.len();
        for shot in shots.iter().filter(|shot| answers(shot)) {
            let answer = match shot.size {
                Size::Datagram => Answer::Refused { from: 40_000, to: shot.port },
                _ => Answer::Echo { number: shot.number, bytes: shot.bytes },
            };
            prober.heard(shot.leg.to, answer, *now);
        }
    }
    sent
}

fn prober(targets: Vec<Target>) -> (Prober, Instant) {
    let now = Instant::now();
    let mut prober = Prober::new(7, now);
    prober.retarget(targets, now);
    (prober, now)
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn both_sizes_must_come_back() {
    let (mut prober, mut now) = prober(vec![target(2), target(3)]);
    go_on(&mut prober, &mut now, SECOND, |shot| shot.leg.to == IpAddr::from([10, 1, 2, 0]) || shot.size == Size::Small);
    assert_eq!((verdict(&prober, 2), verdict(&prober, 3)), (Verdict::Proved, Verdict::Unknown));
    go_on(&mut prober, &mut now, SECOND * 10, |shot| shot.size == Size::Small);
    assert_eq!(verdict(&prober, 3), Verdict::Failed);
    let report = &prober.reports()[&target(3).pair];
    assert_eq!(report.missing.expect("something is missing").words(), "small packets come back, those of 1450 bytes do not");
    assert_eq!(report.proved_bytes, Some(SMALL));
}

/// A pair of both families: a leg each.
fn of_both(number: u8) -> Target {
    let to = IpAddr::from([0xfd10, 0, 0, number.into(), 0, 0, 0, 0]);
    let v6 = Leg { link: LinkName("flannel-v6.1".into()), from: IpAddr::from([0xfd10, 0, 0, 1, 0, 0, 0, 0]), to, ..leg(number, false) };
    Target { legs: vec![leg(number, false), v6], ..target(number) }
}

#[test]
fn a_family_that_is_silent_holds_the_proof_back_and_is_named() {
    for (v4_comes, family) in [(true, "IPv6"), (false, "IPv4")] {
        let (mut prober, mut now) = prober(vec![of_both(2)]);
        go_on(&mut prober, &mut now, SECOND, |shot| shot.leg.to.is_ipv4() == v4_comes);
        assert_eq!(verdict(&prober, 2), Verdict::Unknown, "half of the answers prove nothing");
        go_on(&mut prober, &mut now, SECOND * 3, |shot| shot.leg.to.is_ipv4() == v4_comes);
        assert_eq!(verdict(&prober, 2), Verdict::Failed);
        let missing = prober.reports()[&target(2).pair].missing.expect("something is missing");
        assert_eq!(missing.words(), format!("3 echoes of {family} in a row did not come back"));
        go_on(&mut prober, &mut now, SECOND * 12, |_| true);
        assert_eq!(verdict(&prober, 2), Verdict::Proved, "both come back");
    }
}

#[test]
fn a_way_in_use_whose_ipv6_goes_silent_fails() {
    let (mut prober, mut now) = prober(vec![Target { in_use: true, ..of_both(2) }]);
    go_on(&mut prober, &mut now, SECOND, |_| true);
    assert_eq!(verdict(&prober, 2), Verdict::Proved);
    go_on(&mut prober, &mut now, CALM + SECOND * 5, |shot| shot.leg.to.is_ipv4());
    assert_eq!(verdict(&prober, 2), Verdict::Failed);
}

#[test]
fn a_path_that_carries_less_than_its_link_is_measured_and_proved_for_that() {
    let (mut prober, mut now) = prober(vec![target(2)]);
    let proof = |prober: &Prober| prober.proofs().get(&target(2).pair).copied().unwrap_or_default();
    go_on(&mut prober, &mut now, SECOND * 6, |shot| shot.bytes <= 1372);
    assert_eq!(proof(&prober), Proof { v4: Some(1372), ..Verdict::Proved.into() });
    let report = &prober.reports()[&target(2).pair];
    let words = "packets of up to 1372 bytes come back, those of 1450 do not: the route says so";
    assert_eq!((report.narrow.expect("it is narrow").words().as_str(), report.proved_bytes), (words, Some(1372)));
    go_on(&mut prober, &mut now, SECOND * 12, |shot| shot.bytes <= 1000);
    assert_eq!(proof(&prober).v4, Some(1000), "it shrank");
    go_on(&mut prober, &mut now, CALM + SECOND, |_| true);
    assert_eq!(proof(&prober), Verdict::Proved.into(), "it is wide again");
    assert_eq!(prober.reports()[&target(2).pair].proved_bytes, Some(1450));
}

#[test]
fn echoes_that_only_tell_the_size_are_no_losses() {
    let (mut prober, mut now) = prober(vec![target(2)]);
    go_on(&mut prober, &mut now, SECOND * 6, |shot| shot.bytes <= 1372);
    let before = prober.reports()[&target(2).pair].clone();
    go_on(&mut prober, &mut now, CALM * 20, |shot| shot.bytes <= 1372);
    let report = &prober.reports()[&target(2).pair];
    assert_eq!((report.loss_permille, report.sent - before.sent), (Some(0), report.answered - before.answered));
    assert!(report.sent > before.sent, "it is looked at all the same");
}

#[test]
fn a_way_that_works_is_failed_only_after_three_rounds_in_a_row() {
    let (mut prober, mut now) = prober(vec![Target { in_use: true, ..target(2) }]);
    go_on(&mut prober, &mut now, SECOND, |_| true);
    go_on(&mut prober, &mut now, CALM + SECOND, |_| false);
    assert_eq!(verdict(&prober, 2), Verdict::Proved, "one round is not enough");
    go_on(&mut prober, &mut now, SECOND * 4, |_| false);
    assert_eq!(verdict(&prober, 2), Verdict::Failed);
    assert!(prober.reports()[&target(2).pair].loss_permille > Some(0));
    go_on(&mut prober, &mut now, SECOND * 12, |_| true);
    assert_eq!(verdict(&prober, 2), Verdict::Proved, "it works again");
}

#[test]
fn a_way_that_works_is_looked_after_by_one_echo_and_left_by_both() {
    let (mut prober, mut now) = prober(vec![target(2)]);
    go_on(&mut prober, &mut now, SECOND, |_| true);
    assert!((10..=14).contains(&go_on(&mut prober, &mut now, SECOND * 60, |_| true)));
    go_on(&mut prober, &mut now, CALM + SECOND * 4, |_| false);
    assert_eq!(verdict(&prober, 2), Verdict::Failed);
    assert_eq!(prober.reports()[&target(2).pair].missing.expect("something is missing").small_came, Some(false));
}

#[test]
fn ways_that_work_are_tried_together() {
    let (mut prober, mut now) = prober((2..102).map(target).collect());
    go_on(&mut prober, &mut now, SECOND * 60, |_| true);
    let (end, mut turns) = (now + SECOND * 60, 0);
    while now < end {
        now = prober.wake(now).expect("there are ways");
        let (shots, _) = prober.turn(now);
        turns += 1;
        for shot in shots {
            prober.heard(shot.leg.to, Answer::Echo { number: shot.number, bytes: shot.bytes }, now + Duration::from_millis(1));
        }
    }
    assert!((10..100).contains(&turns), "the processor wakes {turns} times in 60 s for 100 ways");
}

#[test]
fn what_fails_is_tried_more_and_more_seldom() {
    let (mut prober, mut now) = prober(vec![target(2)]);
    let first = go_on(&mut prober, &mut now, SECOND * 60, |_| false);
    let later = go_on(&mut prober, &mut now, SECOND * 60, |_| false);
    assert!(first > later && later > 0, "{first} and then {later}");
}

#[test]
fn an_answer_of_somebody_else_proves_nothing() {
    let (mut prober, now) = prober(vec![target(2)]);
    let (shots, _) = prober.turn(now);
    for shot in &shots {
        prober.heard(IpAddr::from([192, 0, 2, 66]), Answer::Echo { number: shot.number, bytes: shot.bytes }, now);
        prober.heard(shot.leg.to, Answer::Echo { number: shot.number + 1000, bytes: shot.bytes }, now);
    }
    assert_eq!(verdict(&prober, 2), Verdict::Unknown);
}

#[test]
fn a_pair_in_another_shape_is_another_pair() {
    let (mut prober, mut now) = prober(vec![target(2)]);
    go_on(&mut prober, &mut now, SECOND, |_| true);
    let other = Target { pair: Pair { over: 2, ..target(2).pair }, ..target(2) };
    prober.retarget(vec![other], now);
    assert_eq!(prober.proofs(), Proofs::new());
}

#[test]
fn datagrams_that_vanish_hold_the_proof_back_until_the_silence_is_accepted_or_ends() {
    let checked = Target { legs: vec![leg(2, true)], ..target(2) };
    let link = LinkName("flannel.1".into());
    let (mut prober, mut now) = prober(vec![checked]);
    go_on(&mut prober, &mut now, SECOND * 6, |shot| shot.size != Size::Datagram);
    assert_eq!(prober.silent_links(), std::slice::from_ref(&link));
    assert_eq!(verdict(&prober, 2), Verdict::Unknown);
    prober.try_datagrams_again(&link, now);
    go_on(&mut prober, &mut now, SECOND * 2, |_| true);
    assert_eq!(verdict(&prober, 2), Verdict::Proved);
    assert!(prober.arrives_by(&link) && prober.silent_links().is_empty());

    let (mut prober, mut now) = super::tests::prober(vec![Target { legs: vec![leg(2, true)], ..target(2) }]);
    go_on(&mut prober, &mut now, SECOND * 6, |shot| shot.size != Size::Datagram);
    prober.accept_silence(&link, now);
    go_on(&mut prober, &mut now, SECOND, |shot| shot.size != Size::Datagram);
    assert_eq!(verdict(&prober, 2), Verdict::Proved);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the size of the cluster and whoever answers, the rate holds over any ten seconds.
    #[test]
    fn the_rate_is_bounded_whatever_the_size_of_the_cluster(peers in 1u8..250, deaf in 0u8..4) {
        let (mut prober, mut now) = prober((1..=peers).map(target).collect());
        for _ in 0..3 {
            let sent = go_on(&mut prober, &mut now, SECOND * 10, |shot| deaf != 0 && shot.number % u64::from(deaf) == 0);
            prop_assert!(sent <= RATE as usize * 11, "{} packets in ten seconds", sent);
        }
    }

    /// In the end each peer that answers is proved.
    #[test]
    fn every_peer_is_reached_in_the_end(peers in 1u8..200) {
        let (mut prober, mut now) = prober((1..=peers).map(target).collect());
        go_on(&mut prober, &mut now, SECOND * 30, |_| true);
        prop_assert_eq!(prober.proofs().values().filter(|proof| proof.verdict == Verdict::Proved).count(), usize::from(peers));
    }
}
