//! System calls against the real kernel.

use std::io::Read;

use super::*;

/// What became of frames that were written into a pipe, and what came out of it.
fn through_a_pipe(writes: &mut Writes, frames: &[&[&[u8]]]) -> (Vec<Option<i32>>, Vec<u8>) {
    let (mut out, into) = io::pipe().expect("a pipe");
    // SAFETY: the descriptor is open, and the other end has flags of its own.
    assert_eq!(unsafe { libc::fcntl(into.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) }, 0);
    let frames: Vec<Vec<IoSlice<'_>>> = frames.iter().map(|frame| frame.iter().map(|piece| IoSlice::new(piece)).collect()).collect();
    let frames: Vec<&[IoSlice<'_>]> = frames.iter().map(Vec::as_slice).collect();
    let became = writes.write(&into, &frames, false);
    drop(into);
    let mut came = Vec::new();
    out.read_to_end(&mut came).expect("read");
    (became.iter().map(|written| written.as_ref().err().and_then(io::Error::raw_os_error)).collect(), came)
}

#[test]
fn several_writes_go_in_order_in_one_call() {
    let Ok(mut writes) = Writes::new() else { return println!("skipped: this kernel has no io_submit") };
    assert_eq!(through_a_pipe(&mut writes, &[&[b"a", b"bc"], &[b"d"], &[b"e", b"", b"f"]]), (vec![None; 3], b"abcdef".to_vec()));
    let one: &[&[u8]] = &[b"x"];
    assert_eq!(through_a_pipe(&mut writes, &[one; TOGETHER + 5]), (vec![None; TOGETHER], vec![b'x'; TOGETHER]), "as many as fit one call");
}

#[test]
fn of_several_writes_each_is_told_by_itself_what_became_of_it() {
    let Ok(mut writes) = Writes::new() else { return println!("skipped: this kernel has no io_submit") };
    let large = vec![7; 1 << 20];
    let (became, came) = through_a_pipe(&mut writes, &[&[b"a"], &[&large], &[b"c"]]);
    assert_eq!(became, [None, None, Some(libc::EAGAIN)], "what the pipe has room for, and no more");
    assert!(came.len() > 4096 && came.len() < large.len() && came[0] == b'a' && came[1..].iter().all(|&byte| byte == 7));
    let became = writes.write(&std::fs::File::open("/dev/null").expect("opened"), &[&[IoSlice::new(b"a")]], false);
    assert!(became.is_empty(), "a file that is open for reading alone takes none");
}

#[test]
fn a_write_that_is_not_to_sleep_is_told_of_want_of_room() {
    let (Ok(mut writes), Ok((_out, into))) = (Writes::new(), io::pipe()) else { return println!("skipped: this kernel has no io_submit") };
    let (large, next) = (vec![7; 1 << 20], [IoSlice::new(b"a")]);
    let became = writes.write(&into, &[&[IoSlice::new(&large)], &next], true);
    match &became[..] {
        [Ok(()), Err(error)] => assert_eq!(error.raw_os_error(), Some(libc::EAGAIN)),
        [] => println!("skipped: pipes of this kernel (before 6.4) know no RWF_NOWAIT"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn how_a_thread_is_scheduled_is_its_own() {
    let now = || Scheduling::current().expect("told");
    let before = now();
    if before.policy != libc::SCHED_OTHER {
        return println!("skipped: this test runs at a priority of its own");
    }
    let told = std::thread::spawn(move || {
        let asked = Scheduling { policy: libc::SCHED_BATCH, nice: (before.nice + 1).min(19), turn: 100_000, ..before };
        asked.apply().expect("ordinary threads may");
        (asked, now())
    });
    let (asked, had) = told.join().expect("asked");
    assert_eq!(now(), before, "that thread alone");
    // Before Linux 6.12 there are turns of one length for all, of which nothing is told.
    assert!([0, asked.turn].contains(&had.turn), "{had:?}");
    assert_eq!(had, Scheduling { turn: had.turn, ..asked });
}
