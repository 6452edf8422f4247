//! Who may ask, and what browsers are told: the check of the Host header and the security headers.
//!
//! A page on the internet can make its own name resolve to 127.0.0.1 and then read this API as if it were its own server (DNS rebinding).
//! Such requests carry that name in their Host header, so over TCP only loopback names and the address that is listened on are answered.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::problem::Problem;

/// The way a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The Unix socket: whoever may open it may change things.
    Unix,
    /// TCP on this address: reading only.
    Tcp(SocketAddr),
}

impl Door {
    /// True when a request for `host` (a name or an address, without port) may come through.
    fn admits(self, host: &str) -> bool {
        let Door::Tcp(listen) = self else { return true };
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        match literal.parse::<IpAddr>() {
            // Listening everywhere, any address may be ours; it is names that can be rebound.
            Ok(address) => listen.ip().is_unspecified() || address.is_loopback() || address == listen.ip(),
            Err(_) => host.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
        }
    }
}

/// Lets a request through when it is meant for this server.
pub async fn check_host(State(door): State<Door>, request: Request, next: Next) -> Response {
    match asked_host(&request) {
        _ if door == Door::Unix => next.run(request).await,
        Some(host) if door.admits(host.host()) => next.run(request).await,
        Some(host) => Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            format!("this server does not answer to the name \"{}\"; ask for it by localhost or by the address it listens on", host.host()),
        )
        .into_response(),
        None => Problem::new(StatusCode::BAD_REQUEST, "the request has no valid Host header").into_response(),
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

    fn tcp(listen: &str) -> Door {
        Door::Tcp(listen.parse().expect("an address"))
    }

    #[test]
    fn loopback_and_the_listen_address_are_admitted() {
        for host in ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.9.9.9", "[::1]", "10.0.0.5"] {
            assert!(tcp("10.0.0.5:80").admits(host), "{host} was refused");
        }
    }

    #[test]
    fn other_names_and_addresses_are_refused() {
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.6", "[2001:db8::1]", ""] {
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
