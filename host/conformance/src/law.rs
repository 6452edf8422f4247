//! What the host's policy says to a plan: the reconciler's own union, run on what the plugin answered.

use std::collections::BTreeSet;

use twill_model::item::LinkName;
use twill_model::state::{HostItem, Observed, Origin};
use twill_model::{Item, Lease};
use twill_reconcile::links::Names;
use twill_reconcile::ports::Context;
use twill_reconcile::union::{RefusedItem, unite};
use twill_reconcile::{Inputs, SourceCheck};

/// A whole plan: what is there for everybody, and what each peer brings.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Items of `local`.
    pub local: Vec<Item>,
    /// Each peer with the items of `send-to` and `receive-from`.
    pub peers: Vec<(Lease, Vec<Item>)>,
}

/// What the host would make of a plan.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// What gets through, with links under their interface names.
    pub desired: Vec<HostItem>,
    /// What does not, and why.
    pub refused: Vec<RefusedItem>,
}

/// Puts a plan that was made in `context` before the policy, on a host without any other links.
pub fn judge(context: &Context, networks: twill_model::Prefixes, plan: &Plan) -> Judgement {
    let inputs = Inputs {
        networks,
        backend: context.network.backend.clone(),
        node: context.node.clone(),
        mine: context.mine.clone(),
        peers: plan.peers.iter().map(|(peer, _)| peer.clone().into()).collect(),
        complete: true,
        proofs: Default::default(),
        firewall: None,
    };
    let origin = |lease: Option<&Lease>| Origin { backend: context.way.backend.clone(), lease: lease.map(|lease| lease.subnets) };
    let local = plan.local.iter().map(|item| (origin(None), item.clone()));
    let peers = plan.peers.iter().flat_map(|(peer, items)| items.iter().map(move |item| (origin(Some(peer)), item.clone())));
    let planned = local.chain(peers).collect();
    let united = unite(planned, Some(&inputs.backend), &inputs, SourceCheck::Lease, &Observed::default(), &mut Names::default());
    Judgement { desired: united.desired.items.into_values().map(|(item, _)| item).collect(), refused: united.refused }
}

/// Names of the links that a plan makes.
pub fn links(judgement: &Judgement) -> BTreeSet<LinkName> {
    judgement.desired.iter().filter(|item| matches!(item, Item::Link(_))).map(|item| item.on().clone()).collect()
}

/// A refused item in words, with whom it was planned for.
pub fn words(refused: &RefusedItem) -> String {
    let whom = refused.origin.lease.map_or_else(|| "this node".to_owned(), |lease| lease.to_string());
    format!("for {whom}: {}: {}", refused.what, refused.reason)
}
