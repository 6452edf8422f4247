//! A kernel that lacks an offload: packets pass without it, and that is said once. What a setting leaves out is not missed.

use twill_fastpath::tun::Sleep;
use twill_fastpath::{Offloads, Settings};

use crate::lab::{Node, eventually, skipped, stream, wired};
use crate::lines;

/// How often it was said.
fn told() -> usize {
    lines::count(tracing::Level::INFO, "the kernel has not all offloads")
}

fn in_force(node: &Node) -> Offloads {
    node.tunnels.offloading()[0].in_force
}

/// Places in `struct seccomp_data`: the call's number, and the low halves of its second and third argument.
const NUMBER: u32 = 0;
const SECOND: u32 = 24;
const THIRD: u32 = 32;

fn step(code: u32, k: u32, skip: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: skip, k }
}

fn load(place: u32) -> libc::sock_filter {
    step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, place, 0)
}

fn unless(test: u32, value: u32, skip: u8) -> libc::sock_filter {
    step(libc::BPF_JMP | test | libc::BPF_K, value, skip)
}

fn answer(what: u32) -> libc::sock_filter {
    step(libc::BPF_RET | libc::BPF_K, what, 0)
}

fn error(errno: i32) -> libc::sock_filter {
    answer(libc::SECCOMP_RET_ERRNO | errno as u32)
}

/// Sends the system calls of the node's thread, and of those that it starts, through a filter. False where the kernel has none.
fn filter(node: &Node, mut steps: Vec<libc::sock_filter>) -> bool {
    node.namespace.run(move || {
        let filter = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
        // SAFETY: the kernel copies the filter, whose steps live until the call is over.
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0 }
    })
}

/// Lets the kernel answer as one before Linux 6.2 does, which knows no USO: TUNSETOFFLOAD with its bits is EINVAL.
fn make_older(node: &Node) -> bool {
    const USO: u32 = 0x20 | 0x40;
    filter(
        node,
        vec![
            load(NUMBER),
            unless(libc::BPF_JEQ, libc::SYS_ioctl as u32, 5),
            load(SECOND),
            unless(libc::BPF_JEQ, libc::TUNSETOFFLOAD as u32, 3),
            load(THIRD),
            unless(libc::BPF_JSET, USO, 1),
            error(libc::EINVAL),
            answer(libc::SECCOMP_RET_ALLOW),
        ],
    )
}

/// Lets the kernel answer as one that has not that system call, or may not let containers have it.
fn take_away(node: &Node, call: libc::c_long, errno: i32) -> bool {
    filter(node, vec![load(NUMBER), unless(libc::BPF_JEQ, call as u32, 1), error(errno), answer(libc::SECCOMP_RET_ALLOW)])
}

/// As one whose TUN devices give no super-packets at all: TUNSETOFFLOAD with any bit is EINVAL.
fn without_super_packets(node: &Node) -> bool {
    filter(
        node,
        vec![
            load(NUMBER),
            unless(libc::BPF_JEQ, libc::SYS_ioctl as u32, 5),
            load(SECOND),
            unless(libc::BPF_JEQ, libc::TUNSETOFFLOAD as u32, 3),
            load(THIRD),
            unless(libc::BPF_JSET, 1, 1),
            error(libc::EINVAL),
            answer(libc::SECCOMP_RET_ALLOW),
        ],
    )
}

/// As one whose UDP sockets do not know that option.
fn without_option(node: &Node, option: libc::c_int) -> bool {
    filter(
        node,
        vec![
            load(NUMBER),
            unless(libc::BPF_JEQ, libc::SYS_setsockopt as u32, 5),
            load(SECOND),
            unless(libc::BPF_JEQ, libc::SOL_UDP as u32, 3),
            load(THIRD),
            unless(libc::BPF_JEQ, option as u32, 1),
            error(libc::ENOPROTOOPT),
            answer(libc::SECCOMP_RET_ALLOW),
        ],
    )
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
        if !take_away(&b, call, errno) {
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
    if !take_away(&b, libc::SYS_pwritev2, libc::EIO) {
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
