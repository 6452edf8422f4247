//! A kernel that lacks something, by a filter of system calls (seccomp(2), Documentation/userspace-api/seccomp_filter.rst).

use crate::lab::Node;

/// What must hold of a call's arguments, each by its low half.
#[derive(Debug, Clone, Copy)]
pub enum Is {
    /// The second is that number.
    Second(u32),
    /// The third is that number.
    Third(u32),
    /// The third has one of these bits.
    ThirdWithAny(u32),
}

/// Lets the kernel answer that system call with that error where all of this holds, for the node's thread and those that it starts. False where the kernel has no
/// such filters.
pub fn answers(node: &Node, call: libc::c_long, all: &[Is], errno: i32) -> bool {
    let steps = filter(call, all, errno);
    node.namespace.run(move || {
        let mut steps = steps;
        let filter = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
        // SAFETY: the kernel copies the filter, whose steps live until the call is over.
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0 }
    })
}

/// Its steps: each condition that does not hold leads to the last one, which lets the call pass.
fn filter(call: libc::c_long, all: &[Is], errno: i32) -> Vec<libc::sock_filter> {
    /// Places in `struct seccomp_data`.
    const NUMBER: u32 = 0;
    const SECOND: u32 = 24;
    const THIRD: u32 = 32;
    let conditions = all.iter().map(|is| match *is {
        Is::Second(value) => (SECOND, libc::BPF_JEQ, value),
        Is::Third(value) => (THIRD, libc::BPF_JEQ, value),
        Is::ThirdWithAny(bits) => (THIRD, libc::BPF_JSET, bits),
    });
    let conditions: Vec<_> = std::iter::once((NUMBER, libc::BPF_JEQ, call as u32)).chain(conditions).collect();
    let step = |code: u32, k: u32, skip: usize| libc::sock_filter { code: code as u16, jt: 0, jf: skip as u8, k };
    let mut steps = Vec::new();
    for (number, &(place, test, value)) in conditions.iter().enumerate() {
        let left = 2 * (conditions.len() - 1 - number);
        steps.push(step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, place, 0));
        steps.push(step(libc::BPF_JMP | test | libc::BPF_K, value, left + 1));
    }
    steps.push(step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32, 0));
    steps.push(step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0));
    steps
}
