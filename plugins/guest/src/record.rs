//! The parts of a stored lease that every store writes alike: JSON objects that tolerate what is new, with the texts inside a way kept as strings,
//! byte for byte.

use serde::{Deserialize, Serialize};

use crate::store::{Addresses, Prefixes, Way};

/// One value a family.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// Of IPv4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v4: Option<String>,
    /// Of IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v6: Option<String>,
}

/// A way as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayRecord {
    backend: String,
    options: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data_v4: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data_v6: Option<String>,
}

impl From<Prefixes> for Pair {
    fn from(prefixes: Prefixes) -> Self {
        Pair { v4: prefixes.v4, v6: prefixes.v6 }
    }
}

impl From<Addresses> for Pair {
    fn from(addresses: Addresses) -> Self {
        Pair { v4: addresses.v4, v6: addresses.v6 }
    }
}

impl From<Pair> for Prefixes {
    fn from(pair: Pair) -> Self {
        Prefixes { v4: pair.v4, v6: pair.v6 }
    }
}

impl From<Pair> for Addresses {
    fn from(pair: Pair) -> Self {
        Addresses { v4: pair.v4, v6: pair.v6 }
    }
}

impl From<Way> for WayRecord {
    fn from(way: Way) -> Self {
        WayRecord { backend: way.backend, options: way.options, data_v4: way.data_v4, data_v6: way.data_v6 }
    }
}

impl From<WayRecord> for Way {
    fn from(way: WayRecord) -> Self {
        Way { backend: way.backend, options: way.options, data_v4: way.data_v4, data_v6: way.data_v6 }
    }
}
