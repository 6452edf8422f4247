//! Same question, same answer: again, elsewhere, later, in another order. And no secret in any of them.

use super::Asked;
use crate::question::{Answer, Question};
use crate::report::{Verdict, kept_unless};
use crate::sample;

/// Each question twice in a row, so that an answer which takes turns is caught in whatever step it goes.
pub(super) async fn repeatable(asked: &Asked<'_>, questions: &[Question], first: &[Answer]) -> Verdict {
    let mut faults = Vec::new();
    for (question, first) in questions.iter().zip(first) {
        for _ in 0..2 {
            let again = question.ask(&asked.planners[0], asked.kind).await;
            faults.extend(difference(question, first, &again, "and then"));
        }
    }
    kept_unless(faults, format!("{} questions asked three times", questions.len()))
}

pub(super) async fn same_everywhere(asked: &Asked<'_>, questions: &[Question], first: &[Answer]) -> Verdict {
    let order = shuffled(questions.len());
    let mut there = vec![None; questions.len()];
    for place in order {
        there[place] = Some(questions[place].ask(&asked.planners[1], asked.kind).await);
    }
    let there: Vec<Answer> = there.into_iter().flatten().collect();
    let faults = differences(questions, first, &there, "and elsewhere");
    kept_unless(faults, format!("{} questions in another instance, shuffled, with another clock and other random numbers", questions.len()))
}

fn differences(questions: &[Question], one: &[Answer], other: &[Answer], joined: &str) -> Vec<String> {
    let pairs = questions.iter().zip(one.iter().zip(other));
    pairs.filter_map(|(question, (one, other))| difference(question, one, other, joined)).collect()
}

/// What is wrong with a second answer, if anything is.
fn difference(question: &Question, one: &Answer, other: &Answer, joined: &str) -> Option<String> {
    let wrong = one != other || one.failure().is_some();
    wrong.then(|| format!("{}: {}, {joined} {}", question.words(), one.words(), other.words()))
}

/// All places in an order that has nothing of the first one, the same in every run (Fisher and Yates).
fn shuffled(count: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..count).rev().collect();
    let mut state = 0x5eed;
    for last in (1..count).rev() {
        let other = usize::try_from(sample::splitmix(&mut state) % (last as u64 + 1)).unwrap_or(0);
        places.swap(last, other);
    }
    places
}

pub(super) fn keeps_secrets(asked: &Asked<'_>, questions: &[Question], answers: &[Answer]) -> Verdict {
    let seeds: Vec<String> = (1..=super::LOOKED_AT).map(|number| sample::node(number, sample::UNDERLAY_MTU).seed).collect();
    let shows = |text: &str| seeds.iter().any(|seed| text.contains(seed.as_str()));
    let mut faults: Vec<String> = questions
        .iter()
        .zip(answers)
        .filter(|(_, answer)| shows(&format!("{answer:?}")))
        .map(|(question, _)| format!("the answer to {} holds the node's seed", question.words()))
        .collect();
    if shows(&format!("{:?}", asked.way)) {
        faults.push("the way that it publishes holds the node's seed".into());
    }
    kept_unless(faults, "no answer holds a seed")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn shuffling_visits_every_place_once_and_keeps_no_order() {
        for count in [0, 1, 2, 10, 91] {
            let order = shuffled(count);
            assert_eq!(order.iter().copied().collect::<BTreeSet<_>>(), (0..count).collect());
        }
        let order = shuffled(91);
        let rising = order.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!((30..=60).contains(&rising), "{rising} of 90 neighbours are in order: {order:?}");
        let position = |place: usize| order.iter().position(|other| *other == place);
        assert!(position(2) > position(60) || position(2) > position(80), "the first questions still come first: {order:?}");
    }
}
