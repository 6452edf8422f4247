//! Receiving: many datagrams a system call (recvmmsg), and with UDP_GRO (linux/udp.h) several of one sender at once, one after the other,
//! with the length that all but the last have.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

use nix::errno::Errno;

use crate::coalesce::Place;
use crate::udp::{BATCH, SLOT, Socket};

/// Slots that one call fills while they come merged: eight of 64 KiB are as many bytes as a processor's cache holds.
const FEW: usize = 8;

/// Room for what one call receives.
#[derive(Debug)]
pub struct Datagrams {
    bytes: Box<[u8]>,
    received: [Received; BATCH],
    count: usize,
    room: usize,
    is_full: bool,
}

/// One or several datagrams of one sender.
#[derive(Debug, Clone, Copy)]
struct Received {
    from: Ipv4Addr,
    len: usize,
    /// Length of each but the last.
    size: usize,
}

impl Default for Datagrams {
    fn default() -> Self {
        let nothing = Received { from: Ipv4Addr::UNSPECIFIED, len: 0, size: 1 };
        Datagrams { bytes: vec![0; BATCH * SLOT].into_boxed_slice(), received: [nothing; BATCH], count: 0, room: BATCH, is_full: false }
    }
}

impl Datagrams {
    /// True when the last call found as much as there was room for: there may be more.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// The buffer that places refer to.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Sender and place of each datagram, in order.
    pub fn places(&self) -> impl Iterator<Item = (Ipv4Addr, Place)> {
        self.received[..self.count].iter().enumerate().flat_map(|(slot, received)| {
            let begin = slot * SLOT;
            // An empty datagram is one all the same.
            let count = received.len.div_ceil(received.size).max(1);
            (0..count).map(move |number| {
                let at = number * received.size;
                let len = received.size.min(received.len - at);
                (received.from, Place { start: (begin + at) as u32, len: len as u32 })
            })
        })
    }
}

/// Room for the one control message that is asked for: the length of each datagram, as an int.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; 32]);

impl Socket {
    /// Receives what has arrived, as far as there is room. `WouldBlock` when nothing has.
    pub fn receive(&self, into: &mut Datagrams) -> io::Result<()> {
        // SAFETY: all four are plain data, for which all zeros is a value.
        let (mut names, mut slices, mut headers, mut controls): (
            [libc::sockaddr_in; BATCH],
            [libc::iovec; BATCH],
            [libc::mmsghdr; BATCH],
            [Control; BATCH],
        ) = unsafe { std::mem::zeroed() };
        (into.count, into.is_full) = (0, false);
        for (number, slot) in into.bytes.chunks_exact_mut(SLOT).enumerate().take(into.room) {
            slices[number] = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() };
            let header = &mut headers[number].msg_hdr;
            header.msg_name = (&raw mut names[number]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
            header.msg_iov = &raw mut slices[number];
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut controls[number]).cast();
            header.msg_controllen = size_of::<Control>() as _;
        }
        let room = into.room as u32;
        // SAFETY: there are BATCH slots and `room` is at most that, so every header of the first `room` points to a name, a slice and a control
        // buffer on this stack frame, and each slice to a slot of its own in `into`, borrowed mutably for the call; lengths are those given.
        let received = unsafe { libc::recvmmsg(self.as_raw_fd(), headers.as_mut_ptr(), room, libc::MSG_DONTWAIT, std::ptr::null_mut()) };
        into.count = Errno::result(received)? as usize;
        into.is_full = into.count == into.room;
        let mut is_merged = false;
        for ((place, name), header) in into.received.iter_mut().zip(&names).zip(&headers).take(into.count) {
            let (len, size) = (header.msg_len as usize, segment_size(&header.msg_hdr));
            is_merged |= size.is_some();
            let from = Ipv4Addr::from_bits(u32::from_be(name.sin_addr.s_addr));
            *place = Received { from, len, size: size.unwrap_or(len).max(1) };
        }
        into.room = if is_merged { FEW } else { BATCH };
        Ok(())
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
