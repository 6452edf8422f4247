//! The ioctls of TUN devices and network interfaces (linux/if_tun.h, linux/ethtool.h), the signal that wakes a thread from a system call, and how a thread is
//! scheduled. One of the two
//! modules of this crate with unsafe code; what it is given and gives back is safe.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::os::unix::thread::JoinHandleExt;
use std::thread::JoinHandle;
use std::time::Duration;

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
    use super::*;

    #[test]
    fn what_is_left_is_a_class_of_its_own() {
        // SAFETY: 0 is the calling thread.
        let class = || unsafe { libc::sched_getscheduler(0) };
        let before = class();
        let told = std::thread::spawn(move || take_what_is_left().map(|()| class()).expect("every thread may give way"));
        assert_eq!((told.join().expect("asked"), class()), (libc::SCHED_IDLE, before), "that thread alone");
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
