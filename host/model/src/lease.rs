//! Leases: a node's claim on a pod subnet, plus what peers need to reach it.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::address::{Addresses, Prefixes};

/// The stable id of a node, kept in its state directory. It owns leases; the public address identifies only leases that carry no id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub String);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One way of being reached: a backend with its options and data. A node receives on every way it publishes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub struct Way {
    /// The backend's type, lower case: "udp", "vxlan", ….
    pub backend: String,
    /// JSON text of the options it runs with.
    pub options: String,
    /// flannel's BackendData, byte for byte.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub data_v4: Option<String>,
    /// flannel's BackendV6Data, byte for byte.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub data_v6: Option<String>,
}

impl Way {
    /// The backend's type where the config names the backend `config`. flannel's udp nodes publish no type: "" means udp, unless the config's backend is one that
    /// publishes none either.
    pub fn type_in<'a>(&'a self, config: &'a str) -> &'a str {
        match self.backend.as_str() {
            "" if matches!(config, "alloc" | "tencent-vpc") => config,
            "" => "udp",
            named => named,
        }
    }
}

/// How long a lease lives on, by the store's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Lifetime {
    /// For ever: an operator pinned it.
    Reserved,
    /// The store expires it by itself; when is not known.
    Unknown,
    /// Seconds from now.
    Seconds(u32),
}

/// A node's claim on its subnets, with everything that peers need to reach it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lease {
    /// The pod subnets, one a family.
    pub subnets: Prefixes,
    /// Where peers send to.
    pub public: Addresses,
    /// Best first; the first is the one that flannel sees.
    pub ways: Vec<Way>,
    /// The owner; none when a real flanneld wrote the lease.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub node: Option<NodeId>,
    /// How long it lives on. Not part of what peers plan with.
    pub life: Lifetime,
}

impl Lease {
    /// The same lease without its lifetime: what planning depends on, so that a mere renewal plans nothing anew.
    pub fn timeless(&self) -> Lease {
        Lease { life: Lifetime::Unknown, ..self.clone() }
    }

    /// True when the other one leads to the same plan: only the lifetimes may differ.
    pub fn plans_like(&self, other: &Lease) -> bool {
        let Lease { subnets, public, ways, node, life: _ } = self;
        (subnets, public, ways, node) == (&other.subnets, &other.public, &other.ways, &other.node)
    }

    /// True when `node`, reachable at `public`, owns this lease: by id, or by public address where the lease carries no id.
    pub fn belongs_to(&self, node: &NodeId, public: &Addresses) -> bool {
        match &self.node {
            Some(owner) => owner == node,
            None if self.public.v4.is_some() || public.v4.is_some() => self.public.v4 == public.v4,
            None => self.public.v6 == public.v6 && public.v6.is_some(),
        }
    }

    /// The owner in words: node id, or public address where there is no id.
    pub fn owner(&self) -> String {
        match &self.node {
            Some(node) => format!("node {node} at {}", self.public),
            None => format!("the node at {}", self.public),
        }
    }
}
