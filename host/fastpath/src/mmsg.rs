//! The system calls of the UDP socket that no library has in this form: sendmmsg(2) with UDP_SEGMENT, recvmmsg(2) with UDP_GRO, and the socket
//! options that forbid fragmenting. One of the two modules of this crate with unsafe code; what it is given and gives back is safe.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

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

/// Sends the first [`BATCH`] of `messages`, and tells how many left. An error is about the first.
///
/// # Panics
/// When a message names slices that are not there.
pub fn send(socket: BorrowedFd<'_>, slices: &[IoSlice<'_>], messages: &[Outgoing]) -> io::Result<usize> {
    // SAFETY: all three are plain data, for which all zeros is a value.
    let (mut names, mut segments, mut headers): ([Name; BATCH], [Segment; BATCH], [libc::mmsghdr; BATCH]) = unsafe { std::mem::zeroed() };
    let count = messages.len().min(BATCH);
    for (((message, name), segment), header) in messages.iter().zip(&mut names).zip(&mut segments).zip(&mut headers) {
        let header = &mut header.msg_hdr;
        header.msg_namelen = name.say(message.to);
        header.msg_name = std::ptr::from_mut(name).cast();
        let own = &slices[message.first_slice..message.first_slice + message.slices];
        // An IoSlice is laid out as an iovec.
        header.msg_iov = own.as_ptr().cast_mut().cast();
        header.msg_iovlen = own.len() as _;
        if let Some(size) = message.size {
            segment.say(size);
            header.msg_control = std::ptr::from_mut(segment).cast();
            header.msg_controllen = size_of::<Segment>() as _;
        }
    }
    // SAFETY: `count` headers point to names and control messages on this stack frame and to slices of the caller, of the lengths given, and the
    // slices to bytes that are borrowed for the call; the kernel only reads all that, and writes `msg_len`.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count as u32, 0) };
    Ok(Errno::result(sent)? as usize)
}

/// Receives without waiting, a message into each of the first slots of `room` of `slot` bytes, at most `most` and [`BATCH`]. Tells of each in `told`, and how many.
/// `WouldBlock` when nothing has arrived.
pub fn receive(socket: BorrowedFd<'_>, room: &mut [u8], slot: usize, most: usize, told: &mut [Incoming; BATCH]) -> io::Result<usize> {
    // SAFETY: all four are plain data, for which all zeros is a value.
    let (mut names, mut slices, mut headers, mut controls): (
        [Name; BATCH],
        [libc::iovec; BATCH],
        [libc::mmsghdr; BATCH],
        [Control; BATCH],
    ) = unsafe { std::mem::zeroed() };
    let mut count = 0;
    for slot in room.chunks_exact_mut(slot).take(most.min(BATCH)) {
        slices[count] = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() };
        let header = &mut headers[count].msg_hdr;
        header.msg_name = (&raw mut names[count]).cast();
        header.msg_namelen = size_of::<Name>() as u32;
        header.msg_iov = &raw mut slices[count];
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut controls[count]).cast();
        header.msg_controllen = size_of::<Control>() as _;
        count += 1;
    }
    // SAFETY: each of the first `count` headers points to a name, a slice and a control buffer on this stack frame, and each slice to a slot of
    // its own in `room`, borrowed mutably for the call; lengths are those given.
    let received =
        unsafe { libc::recvmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count as u32, libc::MSG_DONTWAIT, std::ptr::null_mut()) };
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
    /// Becomes that address, and tells how long it is.
    fn say(&mut self, address: SocketAddr) -> libc::socklen_t {
        match address {
            SocketAddr::V4(address) => {
                self.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: address.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: address.ip().to_bits().to_be() },
                    sin_zero: [0; 8],
                };
                size_of::<libc::sockaddr_in>() as libc::socklen_t
            }
            SocketAddr::V6(address) => {
                self.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: address.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                    sin6_scope_id: address.scope_id(),
                };
                size_of::<libc::sockaddr_in6>() as libc::socklen_t
            }
        }
    }

    /// The address that the kernel wrote.
    fn address(&self) -> IpAddr {
        // SAFETY: both forms are plain integers over the whole union, which was zeroed before the kernel wrote, and begin with the family.
        let (v4, v6) = unsafe { (self.v4, self.v6) };
        match i32::from(v4.sin_family) {
            libc::AF_INET6 => IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr)),
            _ => IpAddr::V4(Ipv4Addr::from_bits(u32::from_be(v4.sin_addr.s_addr))),
        }
    }
}

impl Segment {
    fn say(&mut self, size: u16) {
        self.header.cmsg_level = libc::SOL_UDP;
        self.header.cmsg_type = libc::UDP_SEGMENT;
        // SAFETY: CMSG_LEN only computes.
        self.header.cmsg_len = unsafe { libc::CMSG_LEN(size_of::<u16>() as u32) } as _;
        self.size = size;
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
