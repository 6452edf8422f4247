//! A network namespace for one test: made on a thread of its own, gone with it. State is set up and looked at with `ip`, not with the library under
//! test.

#![allow(dead_code)]

use std::future::Future;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use serde_json::Value;
use twill_kernel::Netlink;
use twill_reconcile::ports::Kernel;

/// Longest wait for something that must happen.
pub const SOON: Duration = Duration::from_secs(10);

/// Runs `story` in a fresh network namespace with "lo" up; tells and returns where that cannot be had.
pub fn in_namespace<F: Future<Output = ()>>(story: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(|| {
        if let Err(errno) = unshare(CloneFlags::CLONE_NEWNET) {
            println!("skipped: no network namespace can be made ({errno})");
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        ip("link set lo up");
        runtime.block_on(story());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A netlink kernel with its record in a directory that lives as long as the returned guard.
pub fn kernel() -> (Arc<Netlink>, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let kernel = Netlink::open(directory.path().join("sysctls.json")).expect("netlink");
    (Arc::new(kernel), directory)
}

/// Runs `ip` with these words, which must succeed.
pub fn ip(words: &str) {
    let output = Command::new("ip").args(words.split_whitespace()).output().expect("ip runs");
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs `ip -batch -` with these lines.
pub fn ip_batch(lines: &str) {
    use std::io::Write;
    let mut child = Command::new("ip").args(["-batch", "-"]).stdin(std::process::Stdio::piped()).spawn().expect("ip runs");
    child.stdin.take().expect("its input").write_all(lines.as_bytes()).expect("it reads");
    assert!(child.wait().expect("it ends").success());
}

/// What `ip -j` or `bridge -j` tells.
pub fn json(program: &str, words: &str) -> Vec<Value> {
    let output = Command::new(program).arg("-j").args(words.split_whitespace()).output().expect("it runs");
    assert!(output.status.success(), "{program} {words}: {}", String::from_utf8_lossy(&output.stderr));
    if output.stdout.is_empty() { Vec::new() } else { serde_json::from_slice(&output.stdout).expect("JSON") }
}

/// A pair of interfaces up, the first with an address of each family, without duplicate detection.
pub fn wire() {
    ip("link add eth0 type veth peer name far");
    // Link-local addresses would come seconds later, in the midst of the story.
    ip("link set eth0 addrgenmode none");
    ip("link set far addrgenmode none");
    ip("addr add 10.0.0.1/24 dev eth0");
    ip("addr add fd00::1/64 dev eth0 nodad");
    ip("link set eth0 up");
    ip("link set far up");
}

/// Observes, as a daemon does first, and waits until the kernel has been silent for a while, so that what comes is the story's own.
pub async fn quiet(kernel: &Netlink) {
    kernel.observe(vec![]).await.expect("it is observed");
    while tokio::time::timeout(Duration::from_millis(300), kernel.changed()).await.is_ok() {}
}

/// News must come.
pub async fn wakes(kernel: &Netlink, why: &str) {
    assert!(tokio::time::timeout(SOON, kernel.changed()).await.is_ok(), "{why}: nobody was woken");
}

/// No news may come. The wait is what is tested.
pub async fn sleeps_on(kernel: &Netlink, why: &str) {
    assert!(tokio::time::timeout(Duration::from_millis(300), kernel.changed()).await.is_err(), "{why}: somebody was woken");
}
