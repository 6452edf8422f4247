//! The system calls of the UDP socket that no library has in this form: sendmmsg(2) with UDP_SEGMENT, recvmmsg(2) with UDP_GRO, and the socket
//! options that forbid fragmenting. One of the two modules of this crate with unsafe code; what it is given and gives back is safe.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use arrayvec::ArrayVec;
use nix::errno::Errno;

/// Messages a system call, either way.
pub const BATCH: usize = 32;

/// What leaves as one message: slices of the caller's list that belong to it, and how the kernel is to cut them.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing {
    /// Outer destination, of the socket's own family.
    pub to: SocketAddr,
    /// The first of its slices.
    pub first_slice: usize,
    /// How many slices it has.
    pub slices: usize,
    /// Length of each datagram but the last, when the kernel is to cut it; none sends it as one.
    pub size: Option<u16>,
}

/// What came as one message: one datagram, or several of one sender.
#[derive(Debug, Clone, Copy)]
pub struct Incoming {
    /// Outer source.
    pub from: IpAddr,
    /// Bytes in all.
    pub len: usize,
    /// Length of each datagram but the last, when UDP_GRO merged several.
    pub size: Option<usize>,
}

impl Incoming {
    /// What stands where nothing was received yet.
    pub const NOTHING: Incoming = Incoming { from: IpAddr::V4(Ipv4Addr::UNSPECIFIED), len: 0, size: None };
}

/// A socket address of either family; the kernel tells them apart by the first field, which all have.
#[derive(Clone, Copy)]
#[repr(C)]
union Name {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

/// A control message that says UDP_SEGMENT, and nothing else.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Segment {
    header: libc::cmsghdr,
    size: u16,
}

/// Room for the one control message that is asked for: the length of each datagram, as an int.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; 32]);

/// Sends the first [`BATCH`] of `messages` without sleeping, and tells how many left. An error is about the first; `WouldBlock` when there is no room.
///
/// # Panics
/// When a message names slices that are not there.
pub fn send(socket: BorrowedFd<'_>, slices: &[IoSlice<'_>], messages: &[Outgoing]) -> io::Result<usize> {
    let messages = &messages[..messages.len().min(BATCH)];
    let mut names: ArrayVec<Name, BATCH> = messages.iter().map(|message| Name::of(message.to)).collect();
    let mut segments: ArrayVec<Segment, BATCH> = messages.iter().map(|message| Segment::of(message.size.unwrap_or_default())).collect();
    let mut headers: ArrayVec<libc::mmsghdr, BATCH> = ArrayVec::new();
    for ((message, name), segment) in messages.iter().zip(&mut names).zip(&mut segments) {
        // SAFETY: plain data, for which all zeros is a value.
        let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        let own = &slices[message.first_slice..message.first_slice + message.slices];
        header.msg_hdr.msg_namelen = Name::length(message.to);
        header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
        // An IoSlice is laid out as an iovec.
        header.msg_hdr.msg_iov = own.as_ptr().cast_mut().cast();
        header.msg_hdr.msg_iovlen = own.len() as _;
        if message.size.is_some() {
            header.msg_hdr.msg_control = std::ptr::from_mut(segment).cast();
            header.msg_hdr.msg_controllen = size_of::<Segment>() as _;
        }
        headers.push(header);
    }
    // SAFETY: the headers point to names and control messages on this stack frame and to slices of the caller, of the lengths given, and the slices
    // to bytes that are borrowed for the call; the kernel only reads all that, and writes `msg_len`.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as u32, libc::MSG_DONTWAIT) };
    Ok(Errno::result(sent)? as usize)
}

/// Receives a message into each of the first slots of `room` of `slot` bytes, at most `most` and [`BATCH`]: sleeps until there is one, and takes along what came
/// with it. Tells of each in `told`, and how many. `Interrupted` when a signal came meanwhile; `WouldBlock` after the socket's time limit, if it has one.
pub fn receive(socket: BorrowedFd<'_>, room: &mut [u8], slot: usize, most: usize, told: &mut [Incoming; BATCH]) -> io::Result<usize> {
    let count = most.min(BATCH).min(room.len() / slot);
    let mut names: ArrayVec<Name, BATCH> = (0..count).map(|_| Name::NONE).collect();
    let mut controls: ArrayVec<Control, BATCH> = (0..count).map(|_| Control([0; 32])).collect();
    let mut slices: ArrayVec<libc::iovec, BATCH> = room
        .chunks_exact_mut(slot)
        .take(count)
        .map(|slot| libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() })
        .collect();
    let mut headers: ArrayVec<libc::mmsghdr, BATCH> = ArrayVec::new();
    for ((name, control), slice) in names.iter_mut().zip(&mut controls).zip(&mut slices) {
        // SAFETY: plain data, for which all zeros is a value.
        let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
        header.msg_hdr.msg_namelen = size_of::<Name>() as u32;
        header.msg_hdr.msg_iov = slice;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_control = std::ptr::from_mut(control).cast();
        header.msg_hdr.msg_controllen = size_of::<Control>() as _;
        headers.push(header);
    }
    // SAFETY: each header points to a name, a slice and a control buffer on this stack frame, and each slice to a slot of its own in `room`, borrowed
    // mutably for the call; lengths are those given.
    let received = unsafe {
        libc::recvmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as u32, libc::MSG_WAITFORONE, std::ptr::null_mut())
    };
    let received = Errno::result(received)? as usize;
    for ((told, name), header) in told.iter_mut().zip(&names).zip(&headers).take(received) {
        *told = Incoming { from: name.address(), len: header.msg_len as usize, size: segment_size(&header.msg_hdr) };
    }
    Ok(received)
}

/// Sets "don't fragment" on all that leaves, even where the kernel knows a smaller path MTU: such packets are refused with EMSGSIZE.
pub fn forbid_fragments(socket: BorrowedFd<'_>, is_v6: bool) -> io::Result<()> {
    let (level, name, value) = if is_v6 {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO)
    } else {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO)
    };
    let value: libc::c_int = value;
    // SAFETY: the descriptor is open; the option is an int, read through a pointer to one that outlives the call.
    let set =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), size_of_val(&value) as libc::socklen_t) };
    Errno::result(set)?;
    Ok(())
}

impl Name {
    /// What the kernel is to write over: an address of no family.
    const NONE: Name = Name {
        v6: libc::sockaddr_in6 {
            sin6_family: 0,
            sin6_port: 0,
            sin6_flowinfo: 0,
            sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
            sin6_scope_id: 0,
        },
    };

    /// How long the form of that address's family is.
    fn length(address: SocketAddr) -> libc::socklen_t {
        match address {
            SocketAddr::V4(_) => size_of::<libc::sockaddr_in>() as libc::socklen_t,
            SocketAddr::V6(_) => size_of::<libc::sockaddr_in6>() as libc::socklen_t,
        }
    }

    fn of(address: SocketAddr) -> Name {
        match address {
            SocketAddr::V4(address) => Name {
                v4: libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: address.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: address.ip().to_bits().to_be() },
                    sin_zero: [0; 8],
                },
            },
            SocketAddr::V6(address) => Name {
                v6: libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: address.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                    sin6_scope_id: address.scope_id(),
                },
            },
        }
    }

    /// The address that the kernel wrote.
    fn address(&self) -> IpAddr {
        // SAFETY: both forms are plain integers over the whole union, which was all zeros before the kernel wrote, and begin with the family.
        let (v4, v6) = unsafe { (self.v4, self.v6) };
        match i32::from(v4.sin_family) {
            libc::AF_INET6 => IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr)),
            _ => IpAddr::V4(Ipv4Addr::from_bits(u32::from_be(v4.sin_addr.s_addr))),
        }
    }
}

impl Segment {
    fn of(size: u16) -> Segment {
        // SAFETY: a cmsghdr is plain data, for which all zeros is a value.
        let mut header: libc::cmsghdr = unsafe { std::mem::zeroed() };
        header.cmsg_level = libc::SOL_UDP;
        header.cmsg_type = libc::UDP_SEGMENT;
        // SAFETY: CMSG_LEN only computes.
        header.cmsg_len = unsafe { libc::CMSG_LEN(size_of::<u16>() as u32) } as _;
        Segment { header, size }
    }
}

/// What UDP_GRO says; none when the datagram came alone.
fn segment_size(header: &libc::msghdr) -> Option<usize> {
    // SAFETY: the kernel filled the header in, and its control buffer lives on the caller's stack frame; CMSG_FIRSTHDR gives null or a whole
    // cmsghdr in it.
    let message = unsafe { libc::CMSG_FIRSTHDR(header).as_ref() }?;
    if (message.cmsg_level, message.cmsg_type) != (libc::SOL_UDP, libc::UDP_GRO) {
        return None;
    }
    // SAFETY: the payload of this message is an int (udp_cmsg_recv), within the 32 bytes of the control buffer; it may be unaligned.
    let size = unsafe { libc::CMSG_DATA(message).cast::<libc::c_int>().read_unaligned() };
    usize::try_from(size).ok().filter(|&size| size > 0)
}
