//! The cluster's network configuration: flannel's JSON, read with flannel's defaults and rules, and errors that point at the key.
//!
//! [`NetworkConfig::parse`] is the only way in. Arithmetic on a range of subnets is in [`range`], the reading of keys in `keys`. What stands inside
//! `Backend` beside `Type` belongs to the backend's plugin and is handed on verbatim.

use ipnet::{Ipv4Net, Ipv6Net};
use serde::Serialize;

mod error;
mod keys;
pub mod range;

pub use error::ConfigError;
pub use range::Prefix;

use error::at;
use keys::{Keys, V4, V6};

/// The configuration of one address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Range<N> {
    /// The overlay network.
    pub network: N,
    /// Prefix length of a node's subnet.
    pub subnet_len: u8,
    /// The first subnet that is given out.
    pub min: N,
    /// The last subnet that is given out.
    pub max: N,
}

/// The network configuration, checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct NetworkConfig {
    /// IPv4, when enabled.
    pub v4: Option<Range<Ipv4Net>>,
    /// IPv6, when enabled.
    pub v6: Option<Range<Ipv6Net>>,
    /// The backend's type, lower case; "udp" when the config has no `Backend`.
    pub backend: String,
    /// JSON text of the `Backend` object, verbatim; "{}" when there is none.
    pub options: String,
}

impl NetworkConfig {
    /// Reads flannel's network config (the etcd key `config`, or `net-conf.json`). Keys are matched whatever their case, unknown keys are ignored.
    ///
    /// # Errors
    /// The first thing that is wrong: the key, what was found there, what is expected, and an example.
    pub fn parse(text: &str) -> Result<NetworkConfig, ConfigError> {
        let keys = Keys::read(text)?;
        let v4 = keys.enable_v4.then(|| keys.v4.range::<Ipv4Net>(&V4)).transpose()?;
        let v6 = keys.enable_v6.then(|| keys.v6.range::<Ipv6Net>(&V6)).transpose()?;
        if v4.is_none() && v6.is_none() {
            return Err(at("EnableIPv4", "false, and EnableIPv6 is not true", "at least one address family", r#""EnableIPv4": true"#));
        }
        let (backend, options) = keys.backend.unwrap_or_else(|| ("udp".into(), "{}".into()));
        Ok(NetworkConfig { v4, v6, backend, options })
    }

    /// The top-level keys that mean nothing here, as written: probably typing mistakes. Empty when the text is no JSON object.
    pub fn unknown_keys(text: &str) -> Vec<String> {
        keys::unknown(text)
    }
}

#[cfg(test)]
mod tests;
