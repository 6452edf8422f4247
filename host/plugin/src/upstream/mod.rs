//! HTTP servers that an operator grants to stores by name: addresses, TLS and credentials, all of which stay here.
//!
//! [`Upstream`] is what the settings say, plain data whose `Debug` shows no secret. `client` speaks to it: fail-over in order, connections kept
//! open, whole answers and streamed ones. `connect` makes connections, `tls` their encryption, `login` signs in at etcd. What a guest sees of
//! all this is in `imports/http.rs`.

mod client;
mod connect;
mod credentials;
mod endpoint;
mod login;
mod reply;
#[cfg(test)]
mod tests;
mod tls;

pub(crate) use client::{Client, Failure, Request};
pub use credentials::{Credentials, Secret};
pub use endpoint::{BadEndpoint, Endpoint};
pub use reply::Reply;
pub use tls::{Identity, Roots, Tls};

/// A server, or several that are as good as one, with all that is needed to speak to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upstream {
    /// Where it is. The first that answers is kept to until it fails; then the next one's turn comes.
    pub endpoints: Vec<Endpoint>,
    /// How `https` endpoints are checked, and what we show them.
    pub tls: Tls,
    /// How this node signs in.
    pub credentials: Credentials,
}
