//! The road below a way: does the peer's host answer an echo on the underlay? Asked only of peers that no way reaches: it tells a host that is away from a tunnel that
//! is filtered.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::packet::{self, Answer};
use crate::sockets::hearing;
use crate::track::SMALL;

/// Sends one small echo to `to` by the host's own routes, and waits for its answer. `number` should be one that nobody else uses now.
///
/// # Errors
/// No socket can be had, or the host has no route to there.
pub async fn answers(to: IpAddr, number: u64, patience: Duration) -> io::Result<bool> {
    let (domain, protocol) = if to.is_ipv4() { (Domain::IPV4, Protocol::ICMPV4) } else { (Domain::IPV6, Protocol::ICMPV6) };
    let heard = hearing(domain, protocol)?;
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    socket.send_to(&packet::echo(to, number, SMALL), &SockAddr::from(SocketAddr::new(to, 0)))?;
    let answer = async {
        loop {
            let (from, answer) = heard.next().await;
            if from == to && matches!(answer, Answer::Echo { number: theirs, .. } if theirs == number) {
                return;
            }
        }
    };
    Ok(tokio::time::timeout(patience, answer).await.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn this_host_answers_itself_and_nobody_answers_for_a_documentation_address() {
        let loopback = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
        match answers(loopback, 0xfeed_0001, Duration::from_secs(5)).await {
            Ok(came) => assert!(came, "loopback answers"),
            // Raw sockets take a privilege that a developer may lack; the end-to-end tests have it.
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}"),
        }
    }
}
