//! TUN devices: opening, re-attaching, reading, writing, taking away (Documentation/networking/tuntap.rst, linux/if_tun.h).
//!
//! A device is made with IFF_TUN, IFF_NO_PI, IFF_VNET_HDR and IFF_MULTI_QUEUE and is persistent: after a SIGKILL it stays with its address
//! and routes, and the next daemon attaches to it again. A leftover TUN device of that name with other flags is deleted and made anew;
//! anything else of that name is refused. Each frame is a ten-byte virtio-net header (see [`crate::vnet`]) and one packet.
//! With offloads a frame may be a super-packet; they are the device's, so that all queues are given the same ones.
//! Since several queues may attach to one device, the kernel does not keep a second daemon out: the lock of the instance does.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use arrayvec::ArrayVec;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::io::{ReadWriteFlags, preadv2, pwritev2};
use twill_reconcile::ports::Refused;

use crate::coalesce::Joins;
use crate::offload::Offloads;
use crate::syscall::{self, TOGETHER, Writes};
use crate::vnet::{self, VnetHeader};

const DEVICE: &str = "/dev/net/tun";
const PLAIN: i32 = libc::IFF_TUN | libc::IFF_NO_PI;
const WANTED: i32 = PLAIN | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE;

/// One queue of an open TUN device; nothing on it sleeps but [`Queue::read_next`].
#[derive(Debug)]
pub struct Queue {
    file: File,
    joins: Joins,
    sleep: Sleep,
    refuses_joined: bool,
}

/// How a thread sleeps until there is a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sleep {
    /// In the read; calls that are not to sleep say so (RWF_NOWAIT), which TUN devices know since Linux 6.4.
    InRead,
    /// In poll: no other call on the queue sleeps (O_NONBLOCK).
    InPoll,
}

impl Sleep {
    /// The one with fewer system calls that this kernel has. A descriptor that is attached to no device is asked: only where RWF_NOWAIT is known is its own state the
    /// error.
    pub fn best() -> Sleep {
        let asked =
            File::open(DEVICE).map(|detached| preadv2(detached, &mut [IoSliceMut::new(&mut [0])], NO_OFFSET, ReadWriteFlags::NOWAIT));
        if matches!(asked, Ok(Err(rustix::io::Errno::BADFD))) { Sleep::InRead } else { Sleep::InPoll }
    }
}

/// TUN devices have no positions.
const NO_OFFSET: u64 = u64::MAX;

/// Opens `count` queues of the device called `name`, making it if it is not there, with those of `offloads` that the kernel has, to be slept on like that.
pub fn open(name: &str, count: usize, offloads: Offloads, sleep: Sleep) -> Result<Vec<Queue>, Refused> {
    let refused = |cause| Refused { act: format!("open TUN device {name}"), cause };
    check_name(name).map_err(refused)?;
    let first = match Queue::attach(name, WANTED, sleep) {
        Err(Fault::At(_, Errno::EINVAL)) => replace_leftover(name, sleep).map_err(refused)?,
        other => other.map_err(|fault| refused(fault.words(name)))?,
    };
    let mut queues = vec![first];
    while queues.len() < count {
        queues.push(Queue::attach(name, WANTED, sleep).map_err(|fault| refused(fault.words(name)))?);
    }
    for queue in &mut queues {
        queue.set_up(offloads).map_err(|error| refused(error.to_string()))?;
    }
    queues[0].set_persistent(true).map_err(|error| refused(error.to_string()))?;
    Ok(queues)
}

/// Takes away a TUN device that nobody has open, such as one that an earlier daemon left. One that is not there is no error.
pub fn remove(name: &str) -> Result<(), Refused> {
    let refused = |cause| Refused { act: format!("remove TUN device {name}"), cause };
    match syscall::driver(name) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(()),
        Err(error) => return Err(refused(error.to_string())),
        Ok(found) if found != tun_driver() => return Err(refused("it is not a TUN device".into())),
        Ok(_) => {}
    }
    let attached = Queue::attach(name, WANTED, Sleep::InPoll).or_else(|_| Queue::attach(name, PLAIN, Sleep::InPoll));
    attached.map_err(|fault| refused(fault.words(name)))?.release().map_err(|error| refused(error.to_string()))
}

/// True for the errors that a queue gives once its device was deleted.
pub fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBADFD | libc::EBADF | libc::ENODEV))
}

/// True for the error of reading that is about one frame, which is gone: the kernel cannot describe it (`tun_put_user`).
pub fn is_frame_lost(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINVAL)
}

impl Queue {
    /// Reads one frame. `WouldBlock` when there is none.
    pub fn read(&self, frame: &mut [u8]) -> io::Result<usize> {
        match self.sleep {
            Sleep::InRead => Ok(preadv2(&self.file, &mut [IoSliceMut::new(frame)], NO_OFFSET, ReadWriteFlags::NOWAIT)?),
            Sleep::InPoll => (&self.file).read(frame),
        }
    }

    /// Reads one frame, and sleeps while there is none. `Interrupted` when a signal came meanwhile.
    pub fn read_next(&self, frame: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.sleep == Sleep::InPoll {
                poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?;
            }
            match (&self.file).read(frame) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }

    /// The same on a kernel that refuses each super-packet that is written to it: for tests.
    pub fn refusing_joined(self) -> Self {
        Queue { refuses_joined: true, ..self }
    }

    /// Writes one frame, in pieces: the kernel takes its packet as received on the device. `WouldBlock` when there is no room.
    pub fn write(&self, frame: &[IoSlice<'_>]) -> io::Result<()> {
        if self.refuses(frame) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        match self.sleep {
            Sleep::InRead => pwritev2(&self.file, frame, NO_OFFSET, ReadWriteFlags::NOWAIT)?,
            Sleep::InPoll => (&self.file).write_vectored(frame)?,
        };
        Ok(())
    }

    /// Writes frames like [`Queue::write`], several in one system call, and gives what became of each from the front: of fewer, or of none, where the kernel does not
    /// take the next one this way.
    pub fn write_together(&self, writes: &mut Writes, frames: &[&[IoSlice<'_>]]) -> ArrayVec<io::Result<()>, TOGETHER> {
        if self.refuses_joined {
            // As such a kernel does it: those behind a refused one are written all the same.
            return frames.iter().take(TOGETHER).map(|frame| self.write(frame)).collect();
        }
        writes.write(&self.file, frames, self.sleep == Sleep::InRead)
    }

    fn refuses(&self, frame: &[IoSlice<'_>]) -> bool {
        let is_joined = |head: &IoSlice<'_>| VnetHeader::parse(head).is_some_and(|(header, _)| header.is_super_packet());
        self.refuses_joined && frame.first().is_some_and(is_joined)
    }

    /// Which super-packets may be written to it.
    pub fn joins(&self) -> Joins {
        self.joins
    }

    /// The name that the device has now; an error once it was deleted.
    pub fn name(&self) -> io::Result<String> {
        syscall::name(&self.file)
    }

    /// Lets the device vanish with the last of its queues. One that was deleted already is no error.
    pub fn release(&self) -> io::Result<()> {
        match self.set_persistent(false) {
            Err(error) if is_gone(&error) => Ok(()),
            other => other,
        }
    }

    fn attach(name: &str, flags: i32, sleep: Sleep) -> Result<Queue, Fault> {
        let when_empty = if sleep == Sleep::InPoll { libc::O_NONBLOCK } else { 0 };
        let open = OpenOptions::new().read(true).write(true).custom_flags(when_empty).open(DEVICE);
        let file = open.map_err(|error| Fault::Device(errno(&error)))?;
        syscall::attach(&file, name, flags).map_err(|error| Fault::At("TUNSETIFF", errno(&error)))?;
        Ok(Queue { file, joins: Joins { tcp: false, udp: false }, sleep, refuses_joined: false })
    }

    /// Sets the header's size, and the offloads, whatever an earlier daemon left.
    fn set_up(&mut self, offloads: Offloads) -> io::Result<()> {
        syscall::set_header_size(&self.file, vnet::HEADER)?;
        let wanted = Joins { tcp: offloads.tso, udp: offloads.uso };
        let mut refused = None;
        for joins in tries(wanted) {
            match syscall::set_offloads(&self.file, flags(joins)) {
                Ok(()) => {
                    self.joins = joins;
                    return Ok(());
                }
                Err(error) => refused = Some(error),
            }
        }
        refused.map_or(Ok(()), Err)
    }

    fn set_persistent(&self, persistent: bool) -> io::Result<()> {
        syscall::set_persistent(&self.file, persistent)
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// What to ask for, one after the other, until the kernel takes it (it refuses what it does not know, all of it): USO came with Linux 6.2.
fn tries(wanted: Joins) -> [Joins; 3] {
    [wanted, Joins { udp: false, ..wanted }, Joins { tcp: false, udp: false }]
}

/// TUN_F_* of linux/if_tun.h. Without any of them the kernel completes all checksums itself.
fn flags(joins: Joins) -> libc::c_ulong {
    const CHECKSUM: libc::c_ulong = 0x01;
    const TCP: libc::c_ulong = 0x02 | 0x04 | 0x08;
    const UDP: libc::c_ulong = 0x20 | 0x40;
    match (joins.tcp, joins.udp) {
        (false, false) => 0,
        (tcp, udp) => CHECKSUM | if tcp { TCP } else { 0 } | if udp { UDP } else { 0 },
    }
}

/// Where opening failed.
enum Fault {
    Device(Errno),
    At(&'static str, Errno),
}

impl Fault {
    /// The cause, and what to do.
    fn words(&self, name: &str) -> String {
        match self {
            Fault::Device(Errno::ENOENT | Errno::ENXIO | Errno::ENODEV) => {
                format!("{DEVICE} is missing: load the kernel module tun, or give the container that device")
            }
            Fault::Device(Errno::EACCES | Errno::EPERM) => {
                format!("{DEVICE} may not be opened: run twill as root, or allow it that device")
            }
            Fault::Device(errno) => format!("{DEVICE}: {}", errno.desc()),
            Fault::At(_, Errno::EPERM) => "not permitted: run twill as root, or with CAP_NET_ADMIN in this network namespace".into(),
            Fault::At(_, Errno::EBUSY) => {
                format!("another program holds {name}: stop it (a flanneld, or a second twill?), or choose another name")
            }
            Fault::At(call, errno) => format!("{call}: {}", errno.desc()),
        }
    }
}

/// "flannel%d" would make the kernel choose a name; the reconciler has done that.
fn check_name(name: &str) -> Result<(), String> {
    let fits =
        !name.is_empty() && name.len() < libc::IFNAMSIZ && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"%/:".contains(&byte));
    if fits {
        Ok(())
    } else {
        Err(format!("\"{name}\" is not the name of an interface, which has 1 to 15 letters, digits, dots and dashes"))
    }
}

/// The kernel will not attach to the interface with our flags: if it is a TUN device that an other program left, it is made anew.
fn replace_leftover(name: &str, sleep: Sleep) -> Result<Queue, String> {
    if syscall::driver(name).map_err(|error| error.to_string())? != tun_driver() {
        return Err(format!(
            "an interface {name} exists and is not a TUN device: remove it (ip link delete {name}), or choose another name"
        ));
    }
    let leftover = Queue::attach(name, PLAIN, sleep).map_err(|fault| fault.words(name))?;
    leftover.release().map_err(|error| error.to_string())?;
    drop(leftover);
    tracing::info!(link = name, "deleted a leftover TUN device with other flags");
    Queue::attach(name, WANTED, sleep).map_err(|fault| fault.words(name))
}

/// What `syscall::driver` says of a TUN device; a TAP device has "tun" and "tap".
fn tun_driver() -> (String, String) {
    ("tun".into(), "tun".into())
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_kernel_would_change_are_refused() {
        for bad in ["", "flannel%d", "a/b", "a:b", "name with space", "sixteen-bytes-xx"] {
            let refused = open(bad, 1, Offloads::ALL, Sleep::InRead).expect_err("a bad name");
            assert!(refused.to_string().contains("is not the name of an interface"), "{refused}");
        }
    }

    #[test]
    fn new_kernels_are_slept_on_in_the_read() {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
        let mut numbers = release.split(['.', '-']).map(|number| number.parse().unwrap_or(0));
        let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if File::open(DEVICE).is_err() {
            return println!("skipped: {DEVICE} may not be opened");
        }
        // An older one may have been given it since.
        assert!(version < (6, 4) || Sleep::best() == Sleep::InRead, "{release}");
    }

    #[test]
    fn offloads_are_asked_for_down_to_none() {
        let all = Joins { tcp: true, udp: true };
        assert_eq!(tries(all).map(flags), [0x6f, 0x0f, 0], "what Linux 6.2 has, what 5.4 has, and none");
        assert_eq!(tries(Joins { tcp: false, ..all }).map(flags)[..2], [0x61, 0]);
        assert_eq!(tries(Joins { udp: false, ..all }).map(flags)[0], 0x0f);
    }

    #[test]
    fn faults_say_what_to_do() {
        assert!(Fault::Device(Errno::ENOENT).words("t").contains("load the kernel module"));
        assert!(Fault::At("TUNSETIFF", Errno::EPERM).words("t").contains("CAP_NET_ADMIN"));
        assert!(Fault::At("TUNSETIFF", Errno::EBUSY).words("flannel0").contains("another program holds flannel0"));
    }
}
