//! The own lease: taken up again, written on condition, given back.

use twill_lease::store::{Held, Store};
use twill_model::{Lease, NodeId};
use twill_plugin::StoreHandle;

use super::{During, TERM, find, is_conflict, is_lost, is_missing, refused, subnet, take, wish};
use crate::report::{Verdict, kept_unless};

pub(super) async fn adopts(a: &StoreHandle, b: &StoreHandle) -> Verdict {
    let held = take(a, 150, wish(1, TERM)).await?;
    let mut faults = Vec::new();
    let stranger = Lease { node: Some(NodeId("node-2".into())), ..held.lease.clone() };
    refused(b.adopt(stranger).await, "another node's lease adopted", is_conflict, "conflict", &mut faults);
    let absent = Lease { subnets: subnet(151), ..held.lease.clone() };
    refused(b.adopt(absent).await, "a lease adopted that is not there", is_missing, "not-found", &mut faults);
    let again = b.adopt(held.lease.clone()).await.during("the own lease could not be adopted after a restart")?;
    if again.lease.subnets != subnet(150) || again.lease.ways != held.lease.ways {
        faults.push(format!("the adopted lease is {:?}", again.lease));
    }
    b.release(again).await.during("the token of adopt was not the last one")?;
    kept_unless(faults, "its own after a restart; another's and a missing one refused")
}

pub(super) async fn stale_token(a: &StoreHandle, b: &StoreHandle) -> Verdict {
    let first = take(a, 155, wish(1, TERM)).await?;
    let mut faults = Vec::new();
    let mut wider = first.clone();
    wider.lease.ways[0].options = r#"{"Port":9999}"#.into();
    let second = b.publish(wider.clone()).await.during("a lease could not be published")?;
    if second.token == first.token {
        faults.push("publish answered with the token that it was given".into());
    }
    let shown = find(a, subnet(155)).await?;
    if shown.is_none_or(|lease| lease.ways != wider.lease.ways) {
        faults.push("what was published is not what another node reads".into());
    }
    refused(a.publish(first.clone()).await, "a publish with the token before the last", is_conflict, "conflict", &mut faults);
    let foreign = Held { token: "no token of yours".into(), ..second.clone() };
    refused(a.publish(foreign).await, "a publish with a token that is none", is_conflict, "conflict", &mut faults);
    a.release(second.clone()).await.during("release")?;
    refused(b.publish(second).await, "a publish of a lease that was given back", is_lost, "conflict or not-found", &mut faults);
    kept_unless(faults, "four writes on stale tokens refused")
}

pub(super) async fn releases(a: &StoreHandle, b: &StoreHandle) -> Verdict {
    let mine = take(a, 160, wish(1, TERM)).await?;
    let mut faults = Vec::new();
    a.release(mine.clone()).await.during("release")?;
    if find(b, subnet(160)).await?.is_some() {
        faults.push("another node still reads what was released".into());
    }
    if let Err(error) = a.release(mine.clone()).await {
        faults.push(format!("released again it says: {error}"));
    }
    let theirs = take(b, 160, wish(2, TERM)).await?;
    refused(a.release(mine).await, "a release of what another holds by now", is_conflict, "conflict", &mut faults);
    if find(a, subnet(160)).await?.is_none_or(|lease| lease.node != theirs.lease.node) {
        faults.push("the other node's lease is gone after that".into());
    }
    b.release(theirs).await.during("release")?;
    kept_unless(faults, "once, twice, and not for another")
}
