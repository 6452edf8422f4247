//! Reservations: a subnet that waits for its node.

use twill_lease::store::{Store, StoreError};
use twill_model::{Lease, Lifetime};
use twill_plugin::StoreHandle;

use super::{During, TERM, find, is_conflict, is_missing, refused, subnet, wish};
use crate::report::{Miss, Verdict, broken, kept_unless};

pub(super) async fn reservations(a: &StoreHandle, b: &StoreHandle) -> Verdict {
    let pinned = Lease { subnets: subnet(190), ways: vec![], node: None, life: Lifetime::Reserved, ..wish(1, TERM) };
    let reserves = a.abilities().reserves;
    match (a.reserve(pinned.clone()).await, reserves) {
        (Err(StoreError::Unsupported(_)), false) => return Err(Miss::Skipped("it says that it does not reserve".into())),
        (Ok(()), false) => return Err(broken("it reserves, and says in `describe` that it does not")),
        (reserved, _) => reserved.during("reserve")?,
    }
    let mut faults = Vec::new();
    match find(b, subnet(190)).await? {
        Some(lease) if lease.life == Lifetime::Reserved => {}
        other => faults.push(format!("the reservation is read as {other:?}")),
    }
    let stranger = b.claim(vec![subnet(190)], wish(2, TERM)).await;
    refused(stranger, "a reserved subnet claimed by another node", is_conflict, "conflict", &mut faults);
    let other = Lease { public: wish(2, TERM).public, ..pinned };
    refused(b.reserve(other).await, "a reserved subnet reserved for another node", is_conflict, "conflict", &mut faults);
    let held = a.claim(vec![subnet(190)], wish(1, TERM)).await.during("the node could not claim what is reserved for it")?;
    if held.lease.life != Lifetime::Reserved {
        faults.push(format!("in use, the reservation lives {:?}", held.lease.life));
    }
    a.release(held).await.during("release")?;
    if find(b, subnet(190)).await?.is_none() {
        faults.push("the reservation went with its user".into());
    }
    a.unreserve(subnet(190)).await.during("unreserve")?;
    if find(b, subnet(190)).await?.is_some() {
        faults.push("the reservation is still read after unreserve".into());
    }
    refused(a.unreserve(subnet(190)).await, "a reservation ended twice", is_missing, "not-found", &mut faults);
    kept_unless(faults, "reserved, refused to another, used, given back, ended")
}
