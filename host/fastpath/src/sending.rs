//! Sending: many datagrams a system call (sendmmsg), and with UDP_SEGMENT (linux/udp.h) many packets a datagram until the last moment, when
//! the kernel or the network card cuts them.
//!
//! A packet is two slices, headers and data, which are not copied together.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;

use nix::errno::Errno;

use crate::run::{self, run};
use crate::udp::{BATCH, Socket};

/// A packet that is to leave: the number of its target, where that is, and what it is made of.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// The number of the target: packets of different targets do not leave in one run.
    pub target: u32,
    /// Outer destination.
    pub to: SocketAddrV4,
    /// Its headers and its data; either may be empty.
    pub parts: [&'a [u8]; 2],
}

impl Packet<'_> {
    fn len(&self) -> usize {
        self.parts[0].len() + self.parts[1].len()
    }
}

impl Socket {
    /// Sends packets, of which there are `count`, from the front in runs of at most `most`, and tells how many left. An error is about the first run, or about an
    /// earlier one that the network spoke of meanwhile.
    pub fn send<'a>(&self, count: usize, packet: impl Fn(usize) -> Packet<'a>, most: usize) -> io::Result<usize> {
        let mut runs = Runs::default();
        let mut at = 0;
        while at < count && runs.have_room() {
            let waiting = (at..count).map(&packet).map(|packet| (packet.target, packet.len()));
            let end = at + run(waiting, most);
            runs.add((at..end).map(&packet), packet(at));
            at = end;
        }
        runs.send(self)
    }
}

/// A control message that says UDP_SEGMENT, and nothing else.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Segment {
    header: libc::cmsghdr,
    size: u16,
}

/// The runs of one system call.
struct Runs<'a> {
    slices: [IoSlice<'a>; SLICES],
    used: usize,
    runs: [Run; BATCH],
    count: usize,
}

/// One of them.
#[derive(Clone, Copy)]
struct Run {
    to: SocketAddrV4,
    packets: usize,
    /// Length of each packet but the last.
    size: u16,
    first_slice: usize,
    slices: usize,
}

/// Four runs of the longest kind, or many short ones.
const SLICES: usize = 4 * 2 * run::MOST;

impl Default for Runs<'_> {
    fn default() -> Self {
        let nothing = Run { to: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), packets: 0, size: 0, first_slice: 0, slices: 0 };
        Runs { slices: [IoSlice::new(&[]); SLICES], used: 0, runs: [nothing; BATCH], count: 0 }
    }
}

impl<'a> Runs<'a> {
    /// True when there is room for a run of any length.
    fn have_room(&self) -> bool {
        self.count < BATCH && self.used + 2 * run::MOST <= SLICES
    }

    fn add(&mut self, packets: impl ExactSizeIterator<Item = Packet<'a>>, first: Packet<'a>) {
        let (count, first_slice) = (packets.len(), self.used);
        for part in packets.flat_map(|packet| packet.parts).filter(|part| !part.is_empty()) {
            self.slices[self.used] = IoSlice::new(part);
            self.used += 1;
        }
        let slices = self.used - first_slice;
        self.runs[self.count] = Run { to: first.to, packets: count, size: first.len() as u16, first_slice, slices };
        self.count += 1;
    }

    /// Sends them, and tells how many packets left.
    fn send(&self, socket: &Socket) -> io::Result<usize> {
        // SAFETY: all three are plain data, for which all zeros is a value.
        let (mut names, mut segments, mut headers): ([libc::sockaddr_in; BATCH], [Segment; BATCH], [libc::mmsghdr; BATCH]) =
            unsafe { std::mem::zeroed() };
        let runs = &self.runs[..self.count];
        for (((run, name), segment), header) in runs.iter().zip(&mut names).zip(&mut segments).zip(&mut headers) {
            let header = &mut header.msg_hdr;
            *name = raw_address(run.to);
            header.msg_name = std::ptr::from_mut(name).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
            // An IoSlice is laid out as an iovec.
            header.msg_iov = self.slices[run.first_slice..].as_ptr().cast_mut().cast();
            header.msg_iovlen = run.slices as _;
            if run.packets > 1 {
                segment.say(run.size);
                header.msg_control = std::ptr::from_mut(segment).cast();
                header.msg_controllen = size_of::<Segment>() as _;
            }
        }
        // SAFETY: as many headers as there are runs point to names and control messages on this stack frame and to slices of `self`, of the lengths
        // given, and the slices to bytes that live for 'a; the kernel only reads all that, and writes `msg_len`.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), runs.len() as u32, 0) };
        let sent = Errno::result(sent)? as usize;
        Ok(runs[..sent].iter().map(|run| run.packets).sum())
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

fn raw_address(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: address.ip().to_bits().to_be() },
        sin_zero: [0; 8],
    }
}
