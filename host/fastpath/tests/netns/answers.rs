//! ICMP answers really reach the pod's socket, and what a path does not carry whole is cut or answered.

use std::cell::Cell;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{setsockopt, sockopt};
use twill_fastpath::{Offloads, Settings};

use crate::lab::{Namespace, Node, eventually, hear, stream, two_nodes};

/// Waits for the error that an ICMP message leaves on the socket.
fn told(pod: &UdpSocket) -> Option<i32> {
    let mut polled = [PollFd::new(pod.as_fd(), PollFlags::empty())];
    while poll(&mut polled, 10_000u16) == Err(Errno::EINTR) {}
    assert!(polled[0].any() == Some(true), "no answer came");
    // The kernel queues what it heard before it sets the error (__udp4_lib_err).
    let error = Cell::new(None);
    eventually("the pending error", || {
        error.set(pod.take_error().expect("asked").and_then(|error| error.raw_os_error()));
        error.get().is_some()
    });
    error.get()
}

/// A socket that hears of all ICMP errors, with "don't fragment" as asked (`IP_PMTUDISC_*`).
fn listening(node: &Node, to: &str, discover: i32) -> UdpSocket {
    let pod = node.pod(0);
    setsockopt(&pod, sockopt::Ipv4RecvErr, &true).expect("IP_RECVERR");
    let size = size_of::<i32>() as u32;
    // SAFETY: the descriptor is open, and the option is an int that outlives the call.
    let set = unsafe { libc::setsockopt(pod.as_raw_fd(), libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, (&raw const discover).cast(), size) };
    assert_eq!(set, 0);
    pod.connect(to).expect("a route");
    pod
}

fn known_mtu(pod: &UdpSocket) -> i32 {
    let (mut mtu, mut size) = (0i32, size_of::<i32>() as u32);
    // SAFETY: the descriptor is open, and both pointers are to values of the stated size that outlive the call.
    let got = unsafe { libc::getsockopt(pod.as_raw_fd(), libc::IPPROTO_IP, libc::IP_MTU, (&raw mut mtu).cast(), &raw mut size) };
    assert_eq!(got, 0);
    mtu
}

#[test]
fn errors_between_pods_pass_like_any_packet() {
    let Some((a, _b)) = two_nodes(Settings::default()) else { return };
    let pod = a.pod(0);
    pod.connect("10.5.2.2:9").expect("connected");
    pod.send(b"to a port that nobody listens on").expect("sent");
    // The other pod's answer is an ICMP error with the head of that packet inside.
    let told = pod.recv(&mut [0; 64]).expect_err("an error arrives");
    assert_eq!(told.kind(), std::io::ErrorKind::ConnectionRefused, "{told}");
}

#[test]
fn net_unreachable_reaches_the_pod() {
    let Some((a, _b)) = two_nodes(Settings::default()) else { return };
    let pod = listening(&a, "10.5.9.9:9000", libc::IP_PMTUDISC_DO);
    pod.send(b"anybody?").expect("sent");
    assert_eq!(told(&pod), Some(libc::ENETUNREACH));
    assert_eq!(a.dropped("unknown-destination"), 1);
}

#[test]
fn the_own_subnet_without_its_bridge_is_told_apart() {
    let Some((a, _b)) = two_nodes(Settings::default()) else { return };
    let pod = listening(&a, "10.5.1.77:9000", libc::IP_PMTUDISC_DO);
    pod.send(b"anybody?").expect("sent");
    assert_eq!(told(&pod), Some(libc::ENETUNREACH));
    assert_eq!((a.dropped("own-subnet"), a.dropped("unknown-destination")), (1, 0));
}

/// Sends a packet of 1472 bytes until the pod has learned `mtu`, and shows that what fits then passes.
fn learns(pod: &UdpSocket, at: &UdpSocket, mtu: i32) {
    let mut buffer = [0; 2048];
    // The first may be lost on the way; the answer comes for it or for the next.
    eventually("the pod learns the path's MTU", || {
        let _ = pod.send(&[1; 1444]);
        let _ = poll(&mut [PollFd::new(pod.as_fd(), PollFlags::empty())], 100u16);
        let _ = pod.take_error();
        known_mtu(pod) == mtu
    });
    pod.send(&vec![2; mtu as usize - 28]).expect("fits now");
    let (length, _) = hear(at, &mut buffer);
    assert_eq!((length, buffer[0]), (mtu as usize - 28, 2));
}

#[test]
fn too_big_for_the_own_underlay_is_told_with_the_size_that_fits() {
    let Some((a, b)) = two_nodes(Settings::default()) else { return };
    a.namespace.ip("link set under0 mtu 1400");
    let (pod, at) = (listening(&a, "10.5.2.2:9000", libc::IP_PMTUDISC_DO), b.pod(9000));
    pod.send(&[1; 1444]).expect("sent");
    assert_eq!(told(&pod), Some(libc::EMSGSIZE));
    learns(&pod, &at, 1372);
    assert!(a.dropped("too-big") >= 1);
}

#[test]
fn packets_that_may_be_cut_arrive_whole() {
    let Some((a, b)) = two_nodes(Settings::default()) else { return };
    a.namespace.ip("link set under0 mtu 1000");
    let (pod, at) = (listening(&a, "10.5.2.2:9000", libc::IP_PMTUDISC_DONT), b.pod(9000));
    let mut buffer = [0; 65_536];
    for length in [1444usize, 1000, 20_000] {
        let payload: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        pod.send(&payload).expect("sent");
        let (received, _) = hear(&at, &mut buffer);
        assert!(buffer[..received] == payload[..], "{length} bytes came out otherwise");
    }
    assert_eq!(a.dropped("too-big"), 0);
}

#[test]
fn an_underlay_that_shrinks_again_is_learned_of_from_what_was_cut_for_it() {
    let Some((a, b)) = two_nodes(Settings::default()) else { return };
    let (pod, at) = (listening(&a, "10.5.2.2:9000", libc::IP_PMTUDISC_DONT), b.pod(9000));
    at.set_read_timeout(Some(Duration::from_millis(100))).expect("a time limit");
    // Each size is known for half a minute: fragments of 1400 bytes are refused until it is learned that 1000 are the most.
    for mtu in [1400, 1000] {
        a.namespace.ip(&format!("link set under0 mtu {mtu}"));
        eventually("packets are cut to what fits", || {
            pod.send(&[7; 1444]).expect("sent");
            at.recv(&mut [0; 2048]).is_ok_and(|length| length == 1444)
        });
    }
}

#[test]
fn paths_that_shrink_end_no_offload() {
    let Some((a, b)) = two_nodes(Settings::default()) else { return };
    for mtu in (700..1500).rev().step_by(100) {
        // The first run that is too long is refused, as on a device that takes no runs.
        a.namespace.ip(&format!("link set under0 mtu {mtu}"));
        stream(&a, &b, "10.5.2.2", 1 << 20);
    }
    assert_eq!(a.tunnels.offloading()[0].in_force, Offloads::ALL);
}

#[test]
fn a_router_with_a_smaller_mtu_is_learned_from() {
    let (Some(a), Some(b)) = (Node::new(1, Settings::default()), Node::new(2, Settings::default())) else { return };
    let Some(router) = Namespace::new() else { return };
    router.set("ip_forward", "1");
    a.namespace.wire("under0", "192.0.2.1/32", &router, "to-a", "198.51.100.1/32");
    b.namespace.wire("under0", "192.0.2.2/32", &router, "to-b", "198.51.100.2/32");
    for (node, at) in [(&a, "198.51.100.1"), (&b, "198.51.100.2")] {
        node.namespace.ip(&format!("route add {at} dev under0"));
        node.namespace.ip(&format!("route add default via {at} dev under0"));
    }
    router.ip("route add 192.0.2.1 dev to-a");
    router.ip("route add 192.0.2.2 dev to-b mtu 1300");
    a.start(&[2]);
    b.start(&[1]);
    let (pod, at) = (listening(&a, "10.5.2.2:9000", libc::IP_PMTUDISC_DO), b.pod(9000));
    learns(&pod, &at, 1272);
}
