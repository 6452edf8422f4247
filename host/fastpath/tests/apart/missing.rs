//! A kernel that lacks an offload: packets pass without it, and that is said once. What a setting leaves out is not missed.

use twill_fastpath::tun::Sleep;
use twill_fastpath::{Offloads, Settings};

use crate::kernel::{self, Is};
use crate::lab::{Node, eventually, skipped, stream, wired};
use crate::lines;

/// How often it was said.
fn told() -> usize {
    lines::count(tracing::Level::INFO, "the kernel has not all offloads")
}

fn in_force(node: &Node) -> Offloads {
    node.tunnels.offloading()[0].in_force
}

/// A kernel before Linux 6.2, which knows no USO.
fn make_older(node: &Node) -> bool {
    const USO: u32 = 0x20 | 0x40;
    kernel::answers(node, libc::SYS_ioctl, &[Is::Second(libc::TUNSETOFFLOAD as u32), Is::ThirdWithAny(USO)], libc::EINVAL)
}

/// A kernel whose TUN devices give no super-packets at all.
fn without_super_packets(node: &Node) -> bool {
    const CHECKSUM: u32 = 0x01;
    kernel::answers(node, libc::SYS_ioctl, &[Is::Second(libc::TUNSETOFFLOAD as u32), Is::ThirdWithAny(CHECKSUM)], libc::EINVAL)
}

/// A kernel whose UDP sockets do not know that option.
fn without_option(node: &Node, option: libc::c_int) -> bool {
    kernel::answers(node, libc::SYS_setsockopt, &[Is::Second(libc::SOL_UDP as u32), Is::Third(option as u32)], libc::ENOPROTOOPT)
}

#[test]
fn an_offload_that_the_kernel_lacks_is_named_once() {
    let _turn = crate::turn();
    type Lacks = fn(&Node) -> bool;
    let kernels: [(Lacks, Offloads); 4] = [
        (make_older, Offloads { uso: false, ..Offloads::ALL }),
        (without_super_packets, Offloads { tso: false, uso: false, ..Offloads::ALL }),
        (|node| without_option(node, libc::UDP_SEGMENT), Offloads { gso: false, ..Offloads::ALL }),
        (|node| without_option(node, libc::UDP_GRO), Offloads { gro: false, ..Offloads::ALL }),
    ];
    for (lacks, left) in kernels {
        lines::listen();
        let Some((a, b)) = wired(Settings { queues: 2, ..Settings::default() }) else { return };
        b.start(&[1]);
        if in_force(&b) != Offloads::ALL {
            return skipped("this kernel itself has not all offloads");
        }
        assert_eq!(told(), 0, "a kernel that has all");
        if !lacks(&a) {
            return skipped("this kernel has no filters of system calls");
        }
        a.start(&[2]);
        assert_eq!(in_force(&a), left, "the others are used all the same");
        assert_eq!(told(), 1, "said for all queues together");
        stream(&a, &b, "10.5.2.2", 2 << 20);
        stream(&b, &a, "10.5.1.2", 2 << 20);
        a.close().expect("it was open");
        a.reopen(a.link());
        assert_eq!(told(), 2, "said once each time that it is opened");
    }
}

#[test]
fn an_offload_that_a_setting_leaves_out_is_not_missed() {
    let _turn = crate::turn();
    lines::listen();
    let all = Offloads::ALL;
    let Some(node) = Node::new(1, Settings::default()) else { return };
    node.namespace.ip("address add 192.0.2.1/32 dev lo");
    node.start(&[2]);
    if in_force(&node) != all {
        return skipped("this kernel itself has not all offloads");
    }
    let settings = [Offloads { tso: false, ..all }, Offloads { gso: false, ..all }, Offloads { gro: false, ..all }, Offloads::NONE];
    for offloads in settings.into_iter().chain([Offloads { uso: false, ..all }]) {
        let Some(node) = Node::new(1, Settings { offloads, ..Settings::default() }) else { return };
        node.namespace.ip("address add 192.0.2.1/32 dev lo");
        // Not even where the kernel lacks it too.
        if !offloads.uso && !make_older(&node) {
            return skipped("this kernel has no filters of system calls");
        }
        node.start(&[2]);
        assert_eq!((in_force(&node), told()), (offloads, 0));
    }
}

#[test]
fn where_the_kernel_takes_one_write_a_call_all_packets_arrive_and_that_is_said_once() {
    let _turn = crate::turn();
    lines::listen();
    let told = || lines::count(tracing::Level::INFO, "in a system call of its own");
    let unknown_and_used_up = [(libc::SYS_io_setup, libc::ENOSYS), (libc::SYS_io_setup, libc::EAGAIN)];
    let filtered = [(libc::SYS_io_submit, libc::EPERM), (libc::SYS_io_getevents, libc::EPERM)];
    for (number, (call, errno)) in unknown_and_used_up.into_iter().chain(filtered).enumerate() {
        let Some((a, b)) = wired(Settings { queues: 2, ..Settings::default() }) else { return };
        a.start(&[2]);
        assert_eq!(told(), number, "a kernel that takes several");
        if !kernel::answers(&b, call, &[], errno) {
            return skipped("this kernel has no filters of system calls");
        }
        b.start(&[1]);
        stream(&a, &b, "10.5.2.2", 2 << 20);
        assert_eq!(told(), number + 1, "said for all queues together");
    }
}

#[test]
fn packets_of_a_batch_need_no_system_call_each() {
    use twill_reconcile::ports::Forwarder;

    let _turn = crate::turn();
    let Some((a, b)) = wired(Settings::default()) else { return };
    a.start(&[2]);
    if Sleep::best() != Sleep::InRead {
        return println!("skipped: this kernel (before 6.4) writes by another call");
    }
    // What is written by itself is refused on this node; its answers and pings are, too.
    if !kernel::answers(&b, libc::SYS_pwritev2, &[], libc::EIO) {
        return skipped("this kernel has no filters of system calls");
    }
    b.start(&[1]);
    let pods: Vec<_> = (0..24).map(|_| a.pod(0)).collect();
    let received = || b.tunnels.counters()[0].total.received_packets;
    eventually("flows that arrive together are written together", || {
        pods.iter().for_each(|pod| assert_eq!(pod.send_to(&[7; 300], "10.5.2.2:9000").expect("sent"), 300));
        received() > 100
    });
    eventually("a packet that comes alone is refused by the filter", || {
        assert_eq!(pods[0].send_to(&[7; 300], "10.5.2.2:9000").expect("sent"), 300);
        b.dropped("tun-refused") > 0
    });
}
