//! The ioctls of TUN devices and network interfaces (linux/if_tun.h, linux/ethtool.h), several writes in one system call (linux/aio_abi.h), the handler of
//! the signal that wakes a thread from a system call, and how a thread is scheduled. One of the two modules of this crate with unsafe code; what it is given and gives back is safe.

use std::io::{self, IoSlice};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use arrayvec::ArrayVec;
use nix::errno::Errno;
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

/// Driver and bus of an interface, as `ethtool -i` shows them: texts of 32 bytes in `struct ethtool_drvinfo` (linux/ethtool.h), which begins with the command.
pub fn driver(name: &str) -> io::Result<(String, String)> {
    const GET_DRIVER_INFO: u32 = 3;
    const DRIVER: usize = 4;
    const BUS: usize = 100;
    let mut info = [0u32; 49];
    info[0] = GET_DRIVER_INFO;
    let mut request = request(name, 0);
    request.ifr_ifru.ifru_data = (&raw mut info).cast();
    interface(&UdpSocket::bind("127.0.0.1:0")?, libc::SIOCETHTOOL as _, &mut request)?;
    let bytes: Vec<u8> = info.into_iter().flat_map(u32::to_ne_bytes).collect();
    let text = |at: usize| String::from_utf8_lossy(&bytes[at..at + 32]).trim_end_matches('\0').to_owned();
    Ok((text(DRIVER), text(BUS)))
}

/// The most writes in one system call.
pub const TOGETHER: usize = 32;

/// Several writes in one system call (io_submit(2)), for files that have written when they return, such as TUN devices and pipes.
#[derive(Debug)]
pub struct Writes {
    context: libc::c_ulong,
}

/// IOCB_CMD_PWRITEV (linux/aio_abi.h).
const WRITE_VECTORED: u16 = 8;

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
    rest: [u64; 3],
}

/// What became of a request: its number, its address, the result, and one more (`struct io_event`).
type Event = [i64; 4];

impl Writes {
    /// Asks the kernel for room. An error where it was built without this, or has given all of it away (fs.aio-max-nr, aio(7)).
    pub fn new() -> io::Result<Writes> {
        let mut context: libc::c_ulong = 0;
        // SAFETY: the kernel writes one context through the pointer, which is to one.
        Errno::result(unsafe { libc::syscall(libc::SYS_io_setup, TOGETHER as libc::c_long, &raw mut context) })?;
        let mut writes = Writes { context };
        // A filter of system calls may let the one pass and not the others, which must be known before anything is under way.
        writes.submit(&mut [])?;
        match writes.events(&mut []) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(writes),
        }
    }

    /// Writes the first [`TOGETHER`] of `frames`, a write each, and gives what became of them, in order: fewer where the kernel would not take the next one, and
    /// none where it would take none, for which the caller writes that one by itself. None of them sleeps for room if `now` (RWF_NOWAIT).
    pub fn write(&mut self, file: &impl AsRawFd, frames: &[&[IoSlice<'_>]], now: bool) -> ArrayVec<io::Result<()>, TOGETHER> {
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
        let mut requests: ArrayVec<Request, TOGETHER> = frames.iter().take(TOGETHER).enumerate().map(request).collect();
        let taken = self.submit(&mut requests).unwrap_or(0);
        self.finish(taken)
    }

    /// Has the kernel carry out requests, one after the other, and gives how many it took; an error is about the first.
    fn submit(&mut self, requests: &mut [Request]) -> io::Result<usize> {
        let mut pointers: ArrayVec<*mut Request, TOGETHER> = requests.iter_mut().map(std::ptr::from_mut).collect();
        let (count, list) = (pointers.len() as libc::c_long, pointers.as_mut_ptr());
        // SAFETY: the list is of pointers to requests, of which the kernel writes `key` and reads the rest; what they point to is borrowed by `write`, which comes
        // back when they were carried out.
        let taken = unsafe { libc::syscall(libc::SYS_io_submit, self.context, count, list) };
        Ok(Errno::result(taken)? as usize)
    }

    /// What became of so many requests, in the order in which they were made; waits for those that are not carried out yet, which is none of a TUN device.
    fn finish(&mut self, count: usize) -> ArrayVec<io::Result<()>, TOGETHER> {
        let mut events = [[0; 4]; TOGETHER];
        let mut told = 0;
        while told < count {
            match self.events(&mut events[told..count]) {
                Ok(more) => told += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Never of a context that is there and was asked before. What is borrowed may be in use, so that there is no way back.
                Err(error) => {
                    tracing::error!("io_getevents does not tell what became of packets under way: {error}; this process ends");
                    std::process::abort()
                }
            }
        }
        let mut became: ArrayVec<io::Result<()>, TOGETHER> = (0..count).map(|_| Ok(())).collect();
        for [number, _, result, _] in events.into_iter().take(count).filter(|[_, _, result, _]| *result < 0) {
            became[number as usize] = Err(io::Error::from_raw_os_error(-result as i32));
        }
        became
    }

    /// Waits until there are as many events as there is room for, and gives how many came. `Interrupted` when a signal did.
    fn events(&mut self, room: &mut [Event]) -> io::Result<usize> {
        let (count, list, forever) = (room.len() as libc::c_long, room.as_mut_ptr(), std::ptr::null::<libc::timespec>());
        // SAFETY: the kernel writes at most `count` events through the pointer, which is to so many.
        let got = unsafe { libc::syscall(libc::SYS_io_getevents, self.context, count, count, list, forever) };
        Ok(Errno::result(got)? as usize)
    }
}

impl Drop for Writes {
    fn drop(&mut self) {
        let context = self.context;
        // SAFETY: the context is this value's own, and nothing is under way in it.
        let destroy = move || unsafe { libc::syscall(libc::SYS_io_destroy, context) };
        // The kernel waits for its own readers (RCU) meanwhile, some hundredths of a second for which nobody else is to wait. Where there is no thread for it, the
        // context goes with the process.
        let _ = std::thread::Builder::new().name("end of writes".into()).spawn(destroy);
    }
}

/// Lets SIGURG interrupt the system calls of this process (EINTR) instead of being ignored. Nothing sends it but [`crate::signal`] and sockets that were asked to.
pub fn make_interruptible() -> io::Result<()> {
    extern "C" fn nothing(_: libc::c_int) {}
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing, which is safe at any moment; without SA_RESTART the call that sleeps ends.
    unsafe { sigaction(Signal::SIGURG, &action) }?;
    Ok(())
}

/// How a thread gets its turns on a processor: the head of `struct sched_attr` (linux/sched/types.h), as long as its first version.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scheduling {
    pub(crate) size: u32,
    /// SCHED_* (sched(7)).
    pub policy: libc::c_int,
    pub(crate) flags: u64,
    /// -20 to 19. A lower one than before is not for everyone (CAP_SYS_NICE).
    pub nice: i32,
    pub(crate) priority: u32,
    /// Length of a turn in nanoseconds; 0 asks for an ordinary one, and where it was asked for [`Scheduling::current`] tells its length. Of threads that want the same core the one with the shorter turn goes first when it wakes, and each gets its
    /// share all the same (EEVDF, Linux 6.12; earlier kernels take it and do nothing).
    pub turn: u64,
    pub(crate) deadline: u64,
    pub(crate) period: u64,
}

impl Scheduling {
    /// Of that policy, and nothing else asked for.
    pub fn of(policy: libc::c_int) -> Self {
        Scheduling { size: size_of::<Self>() as u32, policy, ..Scheduling::default() }
    }

    /// The calling thread's.
    pub fn current() -> io::Result<Self> {
        let mut current = Scheduling::default();
        // SAFETY: 0 is the calling thread; the kernel writes at most as many bytes through the pointer as it is told, which is to so many.
        Errno::result(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut current, size_of::<Self>() as u32, 0) })?;
        Ok(current)
    }

    /// Makes it the calling thread's.
    pub fn apply(&self) -> io::Result<()> {
        // SAFETY: 0 is the calling thread; the kernel reads as many bytes through the pointer as the first field tells, which is the size of this.
        Errno::result(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(self), 0) })?;
        Ok(())
    }
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
mod tests;
