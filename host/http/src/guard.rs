//! The doors: how requests come in, the check of the Host header, and what browsers are told by headers.
//!
//! A page on the internet can make its own name resolve to 127.0.0.1 and then read this API as if it were its own server (DNS rebinding).
//! Such requests carry that name in their Host header, so over TCP only loopback names, the address that is listened on and names that the operator gave are
//! answered. What else a request needs is [`access`](crate::access)'s to say.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::access::Access;
use crate::problem::Problem;

/// The way a request came in.
#[derive(Debug, Clone)]
pub enum Door {
    /// The Unix socket: whoever may open it may do everything.
    Unix,
    /// TCP.
    Tcp(Arc<TcpDoor>),
}

/// A door to the network, or to this machine alone.
#[derive(Debug)]
pub struct TcpDoor {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What it asks of those who come through.
    pub access: Access,
}

impl TcpDoor {
    /// True when a request for `host` (a name or an address, without port) may come through.
    fn admits(&self, host: &str) -> bool {
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        match literal.parse::<IpAddr>() {
            // Listening everywhere, any address may be ours; it is names that can be rebound.
            Ok(address) => self.listen.ip().is_unspecified() || address.is_loopback() || address == self.listen.ip(),
            Err(_) => {
                let plain = host.trim_end_matches('.');
                std::iter::once("localhost")
                    .chain(self.access.names.iter().map(String::as_str))
                    .any(|name| plain.eq_ignore_ascii_case(name))
            }
        }
    }

    fn judge(&self, request: &Request) -> Result<(), Problem> {
        let host = asked_host(request).ok_or_else(|| Problem::bad_request("the request has no valid Host header"))?;
        if !self.admits(host.host()) {
            let detail = format!(
                "this server does not answer to the name \"{}\"; ask for it by localhost, by the address it listens on, or by a name given with --api-name",
                host.host()
            );
            return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail));
        }
        let loopback = self.listen.ip().is_loopback();
        self.access.judge(loopback, request.method(), request.uri(), request.headers(), host.as_str())
    }
}

/// Lets a request through when it is meant for this server and may ask what it asks.
pub async fn check(State(door): State<Door>, request: Request, next: Next) -> Response {
    let judged = match &door {
        Door::Unix => Ok(()),
        Door::Tcp(door) => door.judge(&request),
    };
    match judged {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// The host that is asked for: of an absolute request target, else of the one Host header.
fn asked_host(request: &Request) -> Option<Authority> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.clone());
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok()?.parse().ok(),
        _ => None,
    }
}

/// The dashboard brings all that it needs: nothing is loaded from elsewhere, nothing runs inline, nobody frames it.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'";

/// Adds the security headers to every answer.
pub async fn add_headers(mut response: Response) -> Response {
    const HEADERS: [(HeaderName, &str); 4] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(listen: &str) -> TcpDoor {
        let access = Access { names: vec!["node-3.example".into()], ..Access::default() };
        TcpDoor { listen: listen.parse().expect("an address"), access }
    }

    #[test]
    fn loopback_the_listen_address_and_given_names_are_admitted() {
        for host in
            ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.9.9.9", "[::1]", "10.0.0.5", "node-3.example", "Node-3.Example."]
        {
            assert!(tcp("10.0.0.5:80").admits(host), "{host} was refused");
        }
    }

    #[test]
    fn other_names_and_addresses_are_refused() {
        for host in
            ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "node-3.example.evil", "10.0.0.6", "[2001:db8::1]", ""]
        {
            assert!(!tcp("10.0.0.5:80").admits(host), "{host} was admitted");
        }
    }

    #[test]
    fn listening_everywhere_admits_addresses_but_no_names() {
        assert!(tcp("0.0.0.0:80").admits("192.0.2.1"));
        assert!(tcp("[::]:80").admits("[2001:db8::1]"));
        assert!(!tcp("0.0.0.0:80").admits("evil.example"));
    }
}
