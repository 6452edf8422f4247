//! Watching: every change in order, from any cursor in any instance, with the patience that was asked for, and the end of terms.

use std::time::{Duration, Instant};

use twill_lease::store::{Change, Store, StoreError};
use twill_model::{Lifetime, Prefixes};
use twill_plugin::StoreHandle;

use super::{Bench, During, SOON, TERM, find, follow, subnet, take, told, wish};
use crate::report::{Miss, Verdict, broken, kept_unless};

/// How much later than asked a watch without news may return.
const LATE: Duration = Duration::from_secs(3);

/// What happened to one subnet, in short.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    Put(u16, String),
    Gone(u16),
}

impl Step {
    fn number(&self) -> u16 {
        match self {
            Step::Put(number, _) | Step::Gone(number) => *number,
        }
    }
}

/// The changes of subnets `from` to `to`, repeated ones once.
fn steps(changes: &[Change], from: u16, to: u16) -> Vec<Step> {
    let number = |subnets: &Prefixes| (from..=to).find(|number| subnet(*number) == *subnets);
    let mut steps: Vec<Step> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Put(lease) => {
                Some(Step::Put(number(&lease.subnets)?, lease.ways.first().map(|way| way.options.clone()).unwrap_or_default()))
            }
            Change::Gone(subnets) => Some(Step::Gone(number(subnets)?)),
            _ => None,
        })
        .collect();
    steps.dedup();
    steps
}

/// Two leases come, one changes, one goes; what a watch has to tell of that.
async fn story(store: &StoreHandle, from: u16) -> Result<Vec<Step>, Miss> {
    let one = take(store, from, wish(1, TERM)).await?;
    let two = take(store, from + 1, wish(2, TERM)).await?;
    let mut changed = one.clone();
    changed.lease.ways[0].options = r#"{"Port":7000}"#.into();
    let one = store.publish(changed).await.during("publish")?;
    store.release(two).await.during("release")?;
    store.release(one).await.during("release")?;
    let plain = r#"{"Port":8285}"#;
    Ok(vec![
        Step::Put(from, plain.into()),
        Step::Put(from + 1, plain.into()),
        Step::Put(from, r#"{"Port":7000}"#.into()),
        Step::Gone(from + 1),
        Step::Gone(from),
    ])
}

pub(super) async fn in_order(a: &StoreHandle, b: &StoreHandle) -> Verdict {
    let cursor = b.read().await.during("read")?.cursor;
    let watching = tokio::spawn({
        let b = b.clone();
        async move { follow(&b, cursor, |seen| [165, 166].into_iter().all(|number| steps(seen, 165, 166).contains(&Step::Gone(number)))).await }
    });
    let wanted = story(a, 165).await?;
    let (seen, _) = watching.await.during("the watch ended")??;
    let seen = steps(&seen, 165, 166);
    // A watch that begins late may tell a lease as it is by then: what it tells of a lease is a part of its story, in order, to its end.
    let told_right = [165, 166].into_iter().all(|number| {
        let of = |steps: &[Step]| steps.iter().filter(|step| step.number() == number).cloned().collect::<Vec<_>>();
        is_subsequence(&of(&seen), &of(&wanted))
    });
    if told_right {
        return Ok(format!("{} changes of {} told while they happened", seen.len(), wanted.len()));
    }
    Err(broken(format!("what happened: {wanted:?}; what was told: {seen:?}")))
}

fn is_subsequence(part: &[Step], whole: &[Step]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|step| rest.any(|other| other == step))
}

pub(super) async fn resumes(bench: &Bench<'_>, a: &StoreHandle) -> Verdict {
    let cursor = a.read().await.during("read")?.cursor;
    let kept = take(a, 170, wish(1, TERM)).await?;
    let gone = take(a, 171, wish(2, TERM)).await?;
    a.release(gone).await.during("release")?;
    let mut faults = Vec::new();
    for which in [0, 1] {
        let fresh = bench.open(which).await.during("the store could not be opened again")?;
        let complete = |seen: &[Change]| steps(seen, 170, 171).iter().any(|step| matches!(step, Step::Put(170, _)));
        let changes = match fresh.watch(cursor.clone(), 0).await {
            Err(StoreError::LostCursor(_)) => continue,
            Err(error) => return Err(broken(format!("a fresh instance cannot go on: {error}"))),
            Ok(changes) if complete(&changes.changes) => changes,
            Ok(first) => {
                let (seen, cursor) = follow(&fresh, first.cursor.clone(), complete).await?;
                twill_lease::store::Changes { changes: [first.changes, seen].concat(), cursor }
            }
        };
        // The lease that came and went may be told or not; left standing it may not be.
        let last = steps(&changes.changes, 171, 171).pop();
        if matches!(last, Some(Step::Put(..))) {
            faults.push(format!("it tells of a lease that is gone by then, and not of its end: {}", told(&changes.changes)));
        }
        let after = fresh.watch(changes.cursor, 0).await.during("the next watch")?;
        if !steps(&after.changes, 170, 171).is_empty() {
            faults.push(format!("the next cursor tells the same again: {}", told(&after.changes)));
        }
    }
    a.release(kept).await.during("release")?;
    kept_unless(faults, "two fresh instances went on from an old cursor")
}

pub(super) async fn waits(a: &StoreHandle, b: &StoreHandle) -> Verdict {
    let mut cursor = b.read().await.during("read")?.cursor;
    let mut faults = Vec::new();
    // What is still on its way from before is told first.
    for _ in 0..10 {
        let changes = b.watch(cursor.clone(), 200).await.during("watch")?;
        cursor = changes.cursor;
        if changes.changes.is_empty() {
            break;
        }
    }
    for (wait, least) in [(0, Duration::ZERO), (1_500, Duration::from_millis(1_300))] {
        let started = Instant::now();
        let changes = b.watch(cursor.clone(), wait).await.during("a watch without news")?;
        let took = started.elapsed();
        cursor = changes.cursor;
        if !changes.changes.is_empty() {
            faults.push(format!("where nothing happened it told: {}", told(&changes.changes)));
        }
        if took < least || took > least + LATE {
            faults.push(format!("asked to wait {wait} ms it returned after {took:.1?}"));
        }
    }
    let watching = tokio::spawn({
        let b = b.clone();
        async move { (follow(&b, cursor, |seen| !steps(seen, 175, 175).is_empty()).await, Instant::now()) }
    });
    // An ordinary call passes the watch that is under way.
    a.read().await.during("read beside a watch")?;
    let wrote = Instant::now();
    let held = take(a, 175, wish(1, TERM)).await?;
    let (woke, when) = watching.await.during("the watch ended")?;
    woke?;
    a.release(held).await.during("release")?;
    kept_unless(faults, format!("as long as it was told; a claim reached a watch within {:.0?}", when.duration_since(wrote)))
}

pub(super) async fn lost_cursor(b: &StoreHandle) -> Verdict {
    let mut faults = Vec::new();
    for cursor in ["", "no cursor of yours", "-1", "18446744073709551616", "\u{0}", "{}"] {
        match b.watch(cursor.into(), 0).await {
            Err(StoreError::LostCursor(_)) => {}
            Err(other) => faults.push(format!("for the cursor {cursor:?}: {other}")),
            Ok(changes) => faults.push(format!("for the cursor {cursor:?} it told {}", told(&changes.changes))),
        }
    }
    kept_unless(faults, "six cursors that are none")
}

pub(super) async fn terms_end(a: &StoreHandle, b: &StoreHandle) -> Verdict {
    const SHORT: u32 = 4;
    let cursor = b.read().await.during("read")?.cursor;
    let claimed = Instant::now();
    let held = take(a, 180, wish(1, SHORT)).await?;
    let granted = match held.lease.life {
        Lifetime::Seconds(seconds) => Duration::from_secs(seconds.into()),
        other => return Err(broken(format!("claimed for {SHORT} s, the lease lives {other:?}"))),
    };
    let Some(lease) = find(b, subnet(180)).await? else { return Err(broken("the lease is not read while it lives")) };
    let gone = |seen: &[Change]| steps(seen, 180, 180).contains(&Step::Gone(180));
    let mut faults = Vec::new();
    let told_by = match follow(b, cursor, gone).await {
        Ok(_) => "told",
        // Where the store alone knows the end it need not tell it.
        Err(_) if lease.life == Lifetime::Unknown => "not told, as its life is unknown",
        Err(miss) => return Err(miss),
    };
    let took = claimed.elapsed();
    // A second of grace: remaining times are rounded down to seconds.
    if took + Duration::from_secs(1) < granted {
        faults.push(format!("a lease of {granted:?} ended after {took:.1?}"));
    }
    let patience = Instant::now() + SOON;
    while find(a, subnet(180)).await?.is_some() {
        if Instant::now() > patience {
            faults.push(format!("{took:.0?} after it was claimed for {SHORT} s the lease is still read"));
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    kept_unless(faults, format!("a lease of {granted:?} ended after {took:.1?}, {told_by}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_story_in_another_order_is_no_part() {
        let (put, gone) = (Step::Put(1, String::new()), Step::Gone(1));
        let story = [put.clone(), Step::Gone(2), gone.clone()];
        assert!(is_subsequence(&[put.clone(), gone.clone()], &story));
        assert!(!is_subsequence(&[gone, put], &story));
    }
}
