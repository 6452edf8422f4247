//! How pumps are scheduled, as the kernel tells it: amid heavy bulk they do not go before who runs, and afterwards they are as they were.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use twill_fastpath::Settings;
use twill_fastpath::syscall::Scheduling;

use crate::lab::{SetOnDrop, eventually, stream, two_nodes};

/// A pump of this process, as proc_pid_stat(5) tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pump {
    is_in: bool,
    policy: i64,
    nice: i64,
}

fn pumps() -> Vec<Pump> {
    let told = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("stat")).ok()?;
        let (name, numbers) = stat.rsplit_once(')')?;
        let numbers: Vec<i64> = numbers.split_whitespace().map(|number| number.parse().unwrap_or(-1)).collect();
        let is_in = name.contains("(in flannel");
        // The state, the first of them, is the third field.
        (is_in || name.contains("(out flannel")).then(|| Pump { is_in, policy: numbers[41 - 3], nice: numbers[19 - 3] })
    };
    fs::read_dir("/proc/self/task").expect("there are threads").filter_map(|task| told(task.expect("a thread"))).collect()
}

/// As they are to be amid heavy bulk.
fn amid_bulk(ordinary: &[Pump]) -> Vec<Pump> {
    let lower = if may_have_weight() { 5 } else { 0 };
    let batch = |pump: &Pump| Pump { policy: libc::SCHED_BATCH.into(), nice: pump.nice - if pump.is_in { lower } else { 0 }, ..*pump };
    ordinary.iter().map(batch).collect()
}

/// True where threads may lower their nice value (CAP_SYS_NICE): one that ends then is asked.
fn may_have_weight() -> bool {
    let lowered = || {
        let mut wanted = Scheduling::current()?;
        wanted.nice -= 5;
        wanted.apply()
    };
    thread::spawn(lowered).join().expect("no panic").is_ok()
}

#[test]
fn pumps_let_others_run_amid_heavy_bulk_and_are_ordinary_after_it() {
    let _turn = crate::turn();
    let Some((a, b)) = two_nodes(Settings::default()) else { return };
    let ordinary = pumps();
    assert_eq!(ordinary.len(), 4, "a thread out and one in, on two nodes");
    assert!(ordinary.iter().all(|pump| pump.policy == i64::from(libc::SCHED_OTHER)), "{ordinary:?}");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let streams = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                stream(&a, &b, "10.5.2.2", 64 << 20);
            }
        });
        let end = SetOnDrop(&done);
        eventually("a gigabit a second for a tenth of one, which pumps of both nodes notice", || pumps() == amid_bulk(&ordinary));
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
