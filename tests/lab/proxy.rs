//! flannel's udp data plane, as its specification has it (section 5) and nothing of twill's: a TUN device without packet information, a datagram a packet
//! without any header, the time to live one less on each side. For nodes that stand for flannel's.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::netns::NetNs;
use crate::packet::checksum;

/// The port of every node (spec 5: it is not published).
pub const PORT: u16 = 8285;
/// The device; flannel takes the first free number.
pub const LINK: &str = "flannel0";

/// Subnets as base address and length, and where their nodes are.
pub type Table = Vec<(Ipv4Addr, u8, Ipv4Addr)>;

/// A running proxy. Its device goes with it, as flannel's does.
#[derive(Debug)]
pub struct Proxy {
    table: Arc<Mutex<Table>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts one in a node's namespace: device, address, route, socket.
    pub fn start(net: &NetNs, interface: Ipv4Addr, base: Ipv4Addr, network: &str, mtu: u32) -> Result<Proxy> {
        let tun = net.inside(tun)?;
        net.ip(&format!("address add {base}/32 dev {LINK}"))?;
        net.ip(&format!("link set {LINK} mtu {mtu} up"))?;
        net.ip(&format!("route add {network} dev {LINK} scope global"))?;
        let socket = net.inside(|| Ok(UdpSocket::bind((interface, PORT))?))?;
        socket.set_nonblocking(true)?;
        let (table, stop) = (Arc::new(Mutex::new(Table::new())), Arc::new(AtomicBool::new(false)));
        let (shown, told) = (table.clone(), stop.clone());
        let thread = std::thread::spawn(move || carry(tun, &socket, &shown, &told, mtu));
        Ok(Proxy { table, stop, thread: Some(thread) })
    }

    /// Where packets go from now on.
    pub fn set(&self, table: Table) {
        *self.table.lock().unwrap_or_else(PoisonError::into_inner) = table;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Opens a TUN device (include/uapi/linux/if_tun.h).
fn tun() -> Result<File> {
    const IFF_TUN: i16 = 1;
    const IFF_NO_PI: i16 = 0x1000;
    const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
    #[repr(C)]
    struct Request {
        name: [u8; 16],
        flags: i16,
        rest: [u8; 22],
    }
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    let mut request = Request { name: [0; 16], flags: IFF_TUN | IFF_NO_PI, rest: [0; 22] };
    request.name[..LINK.len()].copy_from_slice(LINK.as_bytes());
    // SAFETY: the descriptor is open, and the request is a whole `struct ifreq` that outlives the call.
    let outcome = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, &mut request) };
    ensure!(outcome == 0, "cannot make {LINK}: {}", std::io::Error::last_os_error());
    Ok(file)
}

fn carry(mut tun: File, socket: &UdpSocket, table: &Mutex<Table>, stop: &AtomicBool, mtu: u32) {
    let mut buffer = vec![0; mtu as usize];
    while !stop.load(Ordering::Relaxed) {
        let mut ready = [PollFd::new(tun.as_fd(), PollFlags::POLLIN), PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PollTimeout::from(50u8)).is_err() {
            return;
        }
        if let Ok(size) = tun.read(&mut buffer) {
            let packet = &mut buffer[..size];
            let hop = next_hop(packet, &table.lock().unwrap_or_else(PoisonError::into_inner));
            if let Some(hop) = hop.filter(|_| age(packet)) {
                // What the kernel refuses is lost, as it is with flannel.
                let _ = socket.send_to(packet, SocketAddrV4::new(hop, PORT));
            }
        }
        if let Ok(size) = socket.recv(&mut buffer)
            && age(&mut buffer[..size])
        {
            let _ = tun.write(&buffer[..size]);
        }
    }
}

/// Where a packet goes by its destination.
fn next_hop(packet: &[u8], table: &Table) -> Option<Ipv4Addr> {
    let to = u32::from_be_bytes(packet.get(16..20)?.try_into().ok()?);
    let hit =
        |(base, length, _): &&(Ipv4Addr, u8, Ipv4Addr)| (u32::from(*base) ^ to).checked_shr(32 - u32::from(*length)).unwrap_or(0) == 0;
    table.iter().find(hit).map(|(_, _, hop)| *hop)
}

/// Takes one off the time to live; false when the packet is to be dropped.
fn age(packet: &mut [u8]) -> bool {
    if packet.len() < 20 || packet[8] <= 1 {
        return false;
    }
    packet[8] -= 1;
    packet[10..12].fill(0);
    let header = usize::from(packet[0] & 15) * 4;
    let sum = checksum(&packet[..header.clamp(20, packet.len())]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    true
}

/// A prefix such as 10.50.1.0/24 as base and length.
pub fn parts(prefix: &str) -> Result<(Ipv4Addr, u8)> {
    let (base, length) = prefix.split_once('/').with_context(|| format!("{prefix} is no prefix"))?;
    Ok((base.parse()?, length.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet;

    #[test]
    fn packets_age_with_a_right_checksum_and_die_at_one() {
        let mut packet = packet::udp("10.50.1.2:7".parse().expect("address"), "10.50.2.2:9".parse().expect("address"), b"x");
        assert!(age(&mut packet) && packet[8] == 63 && checksum(&packet[..20]) == 0);
        packet[8] = 1;
        assert!(!age(&mut packet) && !age(&mut [0; 19]));
    }

    #[test]
    fn the_table_is_looked_up_by_prefix() {
        let hop = Ipv4Addr::new(192, 168, 50, 2);
        let packet = packet::udp("10.50.1.2:7".parse().expect("address"), "10.50.2.255:9".parse().expect("address"), b"x");
        let to = |prefix: &str| parts(prefix).map(|(base, length)| vec![(base, length, hop)]).expect("a prefix");
        assert_eq!(next_hop(&packet, &to("10.50.2.0/24")), Some(hop));
        assert_eq!(next_hop(&packet, &to("10.50.3.0/24")), None);
        assert_eq!(next_hop(&packet, &to("0.0.0.0/0")), Some(hop));
        assert_eq!(next_hop(&packet[..18], &to("0.0.0.0/0")), None);
    }
}
