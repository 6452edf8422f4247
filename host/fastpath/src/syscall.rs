//! The ioctls of TUN devices and network interfaces (linux/if_tun.h, linux/ethtool.h), several writes in one system call (linux/aio_abi.h), the signal that wakes a
//! thread from a system call, and how a thread is scheduled. One of the two modules of this crate with unsafe code; what it is given and gives back is safe.

use std::io::{self, IoSlice};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::os::unix::thread::JoinHandleExt;
use std::thread::JoinHandle;
use std::time::Duration;

use arrayvec::ArrayVec;
use nix::errno::Errno;
use nix::sys::pthread::pthread_kill;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Attaches a descriptor of /dev/net/tun to the device of that name with these IFF_* flags (TUNSETIFF).
pub fn attach(tun: &impl AsRawFd, name: &str, flags: i32) -> io::Result<()> {
    interface(tun, libc::TUNSETIFF as _, &mut request(name, flags))
}

/// The name that the device has now (TUNGETIFF).
pub fn name(tun: &impl AsRawFd) -> io::Result<String> {
    let mut request = request("", 0);
    interface(tun, libc::TUNGETIFF as _, &mut request)?;
    let bytes: Vec<u8> = request.ifr_name.iter().take_while(|&&byte| byte != 0).map(|&byte| byte as u8).collect();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Sets the length of the virtio-net header before each frame (TUNSETVNETHDRSZ).
pub fn set_header_size(tun: &impl AsRawFd, size: usize) -> io::Result<()> {
    let mut size = size as libc::c_int;
    // SAFETY: the descriptor is open; TUNSETVNETHDRSZ reads one int through the pointer, and `size` lives until the call is over.
    Errno::result(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETVNETHDRSZ as _, &raw mut size) })?;
    Ok(())
}

/// Says which TUN_F_* offloads the reader understands (TUNSETOFFLOAD).
pub fn set_offloads(tun: &impl AsRawFd, flags: libc::c_ulong) -> io::Result<()> {
    number(tun, libc::TUNSETOFFLOAD as _, flags)
}

/// Lets the device outlive its descriptors, or not (TUNSETPERSIST).
pub fn set_persistent(tun: &impl AsRawFd, persistent: bool) -> io::Result<()> {
    number(tun, libc::TUNSETPERSIST as _, persistent.into())
}

/// Driver and bus of an interface, as `ethtool -i` shows them.
pub fn driver(name: &str) -> io::Result<(String, String)> {
    /// The head of `struct ethtool_drvinfo` (linux/ethtool.h), and room for the rest.
    #[repr(C, align(4))]
    struct Info {
        command: u32,
        driver: [u8; 32],
        version: [u8; 32],
        firmware: [u8; 32],
        bus: [u8; 32],
        rest: [u8; 64],
    }
    const GET_DRIVER_INFO: u32 = 3;
    let mut info = Info { command: GET_DRIVER_INFO, driver: [0; 32], version: [0; 32], firmware: [0; 32], bus: [0; 32], rest: [0; 64] };
    let mut request = request(name, 0);
    request.ifr_ifru.ifru_data = (&raw mut info).cast();
    interface(&UdpSocket::bind("127.0.0.1:0")?, libc::SIOCETHTOOL as _, &mut request)?;
    let text = |bytes: &[u8; 32]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
    Ok((text(&info.driver), text(&info.bus)))
}

/// The most writes in one system call.
pub const TOGETHER: usize = 32;

/// Several writes in one system call (io_submit(2)), between which no other thread takes the core, as one may after each call. For files that have written
/// when they return, such as TUN devices and pipes.
#[derive(Debug)]
pub struct Writes {
    context: libc::c_ulong,
}

/// A request as the kernel takes it (`struct iocb`, linux/aio_abi.h).
#[repr(C)]
#[derive(Default)]
struct Request {
    data: u64,
    #[cfg(target_endian = "little")]
    key: u32,
    flags: u32,
    #[cfg(target_endian = "big")]
    key: u32,
    operation: u16,
    priority: i16,
    file: u32,
    slices: u64,
    count: u64,
    offset: i64,
    reserved: u64,
    more_flags: u32,
    event_file: u32,
}

/// What became of a request (`struct io_event`).
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Event {
    data: u64,
    request: u64,
    result: i64,
    second: i64,
}

impl Writes {
    /// Asks the kernel for room. An error where it was built without this, or has given all of it away (fs.aio-max-nr, aio(7)).
    pub fn new() -> io::Result<Writes> {
        let mut context: libc::c_ulong = 0;
        // SAFETY: the kernel writes one context through the pointer, which is to one.
        Errno::result(unsafe { libc::syscall(libc::SYS_io_setup, TOGETHER as libc::c_long, &raw mut context) })?;
        let mut writes = Writes { context };
        // A filter of system calls may let the one pass and not the others, which must be known before anything is under way.
        writes.submit(&[])?;
        writes.events(&mut [])?;
        Ok(writes)
    }

    /// Writes the first [`TOGETHER`] of `frames`, a write each, and gives what became of them, in order: fewer where the kernel would not take the next one, and
    /// none where it would take none, for which the caller writes that one by itself. None of them sleeps for room if `now` (RWF_NOWAIT).
    pub fn write(&mut self, file: &impl AsRawFd, frames: &[&[IoSlice<'_>]], now: bool) -> ArrayVec<io::Result<()>, TOGETHER> {
        const WRITE_VECTORED: u16 = 8;
        let request = |(number, slices): (usize, &&[IoSlice<'_>])| Request {
            data: number as u64,
            flags: if now { libc::RWF_NOWAIT as u32 } else { 0 },
            operation: WRITE_VECTORED,
            file: file.as_raw_fd() as u32,
            // An IoSlice is laid out as an iovec.
            slices: slices.as_ptr() as u64,
            count: slices.len() as u64,
            ..Request::default()
        };
        let requests: ArrayVec<Request, TOGETHER> = frames.iter().take(TOGETHER).enumerate().map(request).collect();
        let taken = self.submit(&requests).unwrap_or(0);
        self.finish(taken)
    }

    /// Has the kernel carry out requests, one after the other, and gives how many it took; an error is about the first.
    fn submit(&mut self, requests: &[Request]) -> io::Result<usize> {
        let pointers: ArrayVec<*const Request, TOGETHER> = requests.iter().map(std::ptr::from_ref).collect();
        // SAFETY: the pointers are to requests that the kernel only reads; what those point to is borrowed by `write`, which comes back when they were carried out.
        let taken = unsafe { libc::syscall(libc::SYS_io_submit, self.context, pointers.len() as libc::c_long, pointers.as_ptr()) };
        Ok(Errno::result(taken)? as usize)
    }

    /// What became of so many requests, in the order in which they were made; waits for those that are not carried out yet, which is none of a TUN device.
    fn finish(&mut self, count: usize) -> ArrayVec<io::Result<()>, TOGETHER> {
        let mut events = [Event::default(); TOGETHER];
        let mut told = 0;
        while told < count {
            match self.events(&mut events[told..count]) {
                Ok(more) => told += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Never of a context that is there and was asked before. What is borrowed may be in use, so that there is no way back.
                Err(_) => std::process::abort(),
            }
        }
        let mut became: ArrayVec<io::Result<()>, TOGETHER> = (0..count).map(|_| Ok(())).collect();
        for event in &events[..count] {
            became[event.data as usize] = event.result();
        }
        became
    }

    /// Waits until there are as many events as there is room for, and gives how many came. `Interrupted` when a signal did.
    fn events(&mut self, room: &mut [Event]) -> io::Result<usize> {
        let count = room.len() as libc::c_long;
        // SAFETY: the kernel writes at most `count` events through the pointer, which is to so many; null is no time limit.
        let got = unsafe {
            libc::syscall(libc::SYS_io_getevents, self.context, count, count, room.as_mut_ptr(), std::ptr::null::<libc::timespec>())
        };
        Ok(Errno::result(got)? as usize)
    }
}

impl Drop for Writes {
    fn drop(&mut self) {
        // SAFETY: the context is this value's own, and nothing is under way in it.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.context) };
    }
}

impl Event {
    fn result(&self) -> io::Result<()> {
        if self.result < 0 { Err(io::Error::from_raw_os_error(-self.result as i32)) } else { Ok(()) }
    }
}

/// Lets SIGURG interrupt the system calls of this process (EINTR) instead of being ignored. Nothing sends it but [`interrupt`] and sockets that were asked to.
pub fn make_interruptible() -> io::Result<()> {
    extern "C" fn nothing(_: libc::c_int) {}
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing, which is safe at any moment; without SA_RESTART the call that sleeps ends.
    unsafe { sigaction(Signal::SIGURG, &action) }?;
    Ok(())
}

/// Lets the signal reach the calling thread, whatever its parents have blocked.
pub fn accept_interrupts() {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGURG);
    // It fails for signal sets alone that are none.
    let _ = signals.thread_unblock();
}

/// Wakes a thread from the system call that it sleeps in, if it does. One that has ended is left alone.
pub fn interrupt<T>(thread: &JoinHandle<T>) {
    // The thread was not joined, so that its id is still its own.
    let _ = pthread_kill(thread.as_pthread_t(), Signal::SIGURG);
}

/// The head of `struct sched_attr` (linux/sched/types.h), as long as its first version.
#[repr(C)]
#[derive(Default)]
struct Scheduling {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// What threads have that ask for nothing.
pub const ORDINARY_TURN: Duration = Duration::ZERO;

/// Asks for turns of that length for the calling thread: of threads that want the same core the one with the shorter turn goes first when it wakes, and each gets
/// its share all the same (EEVDF, Linux 6.12; earlier kernels take it and do nothing). Nice value and policy stay; a real-time thread is left alone.
pub fn take_turns_of(length: Duration) -> io::Result<()> {
    let mut scheduling = Scheduling::default();
    let size = size_of::<Scheduling>() as u32;
    // SAFETY: 0 is the calling thread; the kernel writes at most `size` bytes through the pointer, which is to so many.
    Errno::result(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut scheduling, size, 0) })?;
    let is_ordinary = [libc::SCHED_OTHER, libc::SCHED_BATCH].contains(&(scheduling.policy as libc::c_int));
    if is_ordinary {
        scheduling.runtime = length.as_nanos() as u64;
        // SAFETY: the kernel reads as many bytes through the pointer as the first field tells.
        Errno::result(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const scheduling, 0) })?;
    }
    Ok(())
}

/// Gives the calling thread only what no other thread of its control group wants of its core, from now on (SCHED_IDLE, sched(7)).
pub fn take_what_is_left() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is the calling thread; the kernel reads one sched_param through the pointer.
    Errno::result(unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) })?;
    Ok(())
}

fn request(name: &str, flags: i32) -> libc::ifreq {
    // SAFETY: an ifreq is plain data, for which all zeros is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    request
}

fn interface(on: &impl AsRawFd, call: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: the descriptor is open; every call made here takes a pointer to an ifreq, which outlives it, as does what `ifru_data` points to.
    Errno::result(unsafe { libc::ioctl(on.as_raw_fd(), call, std::ptr::from_mut(request)) })?;
    Ok(())
}

fn number(on: &impl AsRawFd, call: libc::Ioctl, number: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the descriptor is open; the calls made here take their argument by value.
    Errno::result(unsafe { libc::ioctl(on.as_raw_fd(), call, number) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_is_left_is_a_class_of_its_own() {
        // SAFETY: 0 is the calling thread.
        let class = || unsafe { libc::sched_getscheduler(0) };
        let before = class();
        let told = std::thread::spawn(move || take_what_is_left().map(|()| class()).expect("every thread may give way"));
        assert_eq!((told.join().expect("asked"), class()), (libc::SCHED_IDLE, before), "that thread alone");
    }

    /// What became of frames that were written into a pipe, and what came out of it.
    fn through_a_pipe(frames: &[&[&[u8]]]) -> (Vec<Option<i32>>, Vec<u8>) {
        let (mut out, into) = io::pipe().expect("a pipe");
        let mut writes = Writes::new().expect("a kernel with io_setup, which has not given all away");
        let frames: Vec<Vec<IoSlice<'_>>> = frames.iter().map(|frame| frame.iter().map(|piece| IoSlice::new(piece)).collect()).collect();
        let frames: Vec<&[IoSlice<'_>]> = frames.iter().map(Vec::as_slice).collect();
        let became = writes.write(&into, &frames, true);
        drop(into);
        let mut came = Vec::new();
        out.read_to_end(&mut came).expect("read");
        (became.iter().map(|written| written.as_ref().err().and_then(io::Error::raw_os_error)).collect(), came)
    }

    #[test]
    fn several_writes_go_in_order_in_one_call() {
        assert_eq!(through_a_pipe(&[&[b"a", b"bc"], &[b"d"], &[b"e", b"", b"f"]]), (vec![None; 3], b"abcdef".to_vec()));
        let one: &[&[u8]] = &[b"x"];
        assert_eq!(through_a_pipe(&[one; TOGETHER + 5]), (vec![None; TOGETHER], vec![b'x'; TOGETHER]), "as many as fit one call");
    }

    #[test]
    fn of_several_writes_each_is_told_by_itself_what_became_of_it() {
        let large = vec![7; 1 << 20];
        let (became, came) = through_a_pipe(&[&[b"a"], &[&large], &[b"c"]]);
        assert_eq!(became, [None, None, Some(libc::EAGAIN)], "what the pipe has room for, and no more");
        assert!(came.len() > 4096 && came.len() < large.len() && came[0] == b'a' && came[1..].iter().all(|&byte| byte == 7));
        let mut writes = Writes::new().expect("as above");
        let became = writes.write(&std::fs::File::open("/dev/null").expect("opened"), &[&[IoSlice::new(b"a")]], true);
        assert!(became.is_empty(), "a file that is open for reading alone takes none");
    }

    #[test]
    fn short_turns_leave_the_nice_value_alone() {
        let told = std::thread::spawn(|| {
            // SAFETY: this thread alone is made nicer.
            unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 3) };
            take_turns_of(Duration::from_micros(100)).expect("ordinary threads may");
            let mut now = Scheduling::default();
            // SAFETY: as above.
            unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut now, size_of::<Scheduling>(), 0) };
            (now.nice, now.runtime)
        });
        let (nice, runtime) = told.join().expect("asked");
        assert_eq!(nice, 3);
        if runtime == 0 {
            return println!("skipped: this kernel (before 6.12) has turns of one length for all");
        }
        assert_eq!(runtime, 100_000);
    }
}
