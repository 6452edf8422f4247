//! How pumps are scheduled, as the kernel tells it: amid heavy bulk they do not go before who runs, and afterwards they are as they were.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use twill_fastpath::Settings;

use crate::lab::{SetOnDrop, eventually, stream, two_nodes};

/// Policy and nice value of each pump of this process (proc_pid_stat(5)).
fn pumps() -> Vec<(i64, i64)> {
    let told = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("stat")).ok()?;
        let (name, numbers) = stat.rsplit_once(')')?;
        let numbers: Vec<i64> = numbers.split_whitespace().map(|number| number.parse().unwrap_or(-1)).collect();
        // The state, the first of them, is the third field.
        name.contains(" flannel").then(|| (numbers[41 - 3], numbers[19 - 3]))
    };
    fs::read_dir("/proc/self/task").expect("there are threads").filter_map(|task| told(task.expect("a thread"))).collect()
}

#[test]
fn pumps_let_others_run_amid_heavy_bulk_and_are_ordinary_after_it() {
    let _turn = crate::turn();
    let Some((a, b)) = two_nodes(Settings::default()) else { return };
    let ordinary = pumps();
    assert_eq!(ordinary.len(), 4, "a thread out and one in, on two nodes");
    let is_batch = |(policy, _): &(i64, i64)| *policy == i64::from(libc::SCHED_BATCH);
    assert!(!ordinary.iter().any(is_batch));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let streams = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                stream(&a, &b, "10.5.2.2", 64 << 20);
            }
        });
        let end = SetOnDrop(&done);
        eventually("pumps of both nodes in either direction know of the bulk", || pumps().iter().all(is_batch));
        assert!(pumps().iter().any(|(_, nice)| *nice == -20), "threads in have weight: {:?}", pumps());
        drop(end);
        streams.join().expect("no panic");
    });
    let (p, q) = (a.pod(9000), b.pod(9000));
    eventually("the bulk is over", || {
        p.send_to(b"there", "10.5.2.2:9000").expect("sent");
        q.send_to(b"and back", "10.5.1.2:9000").expect("sent");
        pumps() == ordinary
    });
}
