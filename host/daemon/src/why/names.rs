//! Which node is meant: by its host name (this node only), id or the beginning of it, public address, subnet, or the address of a pod.

use std::net::IpAddr;

use ipnet::IpNet;
use twill_model::status::{LeaseStatus, Snapshot};

/// The shortest beginning of an id.
const SHORTEST: usize = 4;

/// The lease of the node that is meant.
///
/// # Errors
/// No node, or more than one, is called that.
pub fn find<'a>(snapshot: &'a Snapshot, name: &str) -> Result<&'a LeaseStatus, String> {
    let mut found = snapshot.leases.iter().filter(|lease| is(snapshot, lease, name));
    match (found.next(), found.next()) {
        (Some(lease), None) => Ok(lease),
        (Some(_), Some(_)) => Err(format!("more than one node is called \"{name}\"; give its subnet or public address")),
        (None, _) => Err(format!(
            "no node is called \"{name}\": give a subnet, a pod's or a public address, or the beginning of a node's id, as `twill leases` lists them; this node is also called \"{}\" and \"here\"",
            snapshot.node.hostname
        )),
    }
}

fn is(snapshot: &Snapshot, lease: &LeaseStatus, name: &str) -> bool {
    if lease.own && (name == "here" || name == snapshot.node.hostname) {
        return true;
    }
    if let Ok(address) = name.parse::<IpAddr>() {
        return lease.subnets.contains(address) || lease.public.contains(address);
    }
    if let Ok(prefix) = name.parse::<IpNet>() {
        return lease.subnets.iter().any(|own| own == prefix);
    }
    name.len() >= SHORTEST && lease.node.as_ref().is_some_and(|id| id.starts_with(name))
}
