//! What there is to ask of and to set on a device beside the state that plans speak of: how much it received, and who computes its checksums.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use twill_model::item::LinkName;
use twill_reconcile::ports::Refused;

use crate::Netlink;

/// `ETHTOOL_STXCSUM` of linux/ethtool.h: sets whether the device, or what is below it, computes checksums of what it sends.
const ETHTOOL_STXCSUM: u32 = 0x17;

/// `SIOCETHTOOL` of linux/sockios.h.
const SIOCETHTOOL: libc::c_ulong = 0x8946;

/// `struct ethtool_value` of linux/ethtool.h.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

impl Netlink {
    /// Packets that each interface has received since it was made.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub async fn received(&self) -> Result<BTreeMap<LinkName, u64>, Refused> {
        let all = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let links = self.asker.dump(all).await.map_err(|failure| failure.refused("read the counters of links"))?;
        Ok(links.iter().filter_map(|message| if let RouteNetlinkMessage::NewLink(link) = message { counted(link) } else { None }).collect())
    }
}

fn counted(link: &LinkMessage) -> Option<(LinkName, u64)> {
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(LinkName(name.clone())),
        _ => None,
    })?;
    let packets = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Stats64(stats) => Some(stats.rx_packets),
        _ => None,
    })?;
    Some((name, packets))
}

/// Leaves the checksums of what a link sends to the network card below it, or has the kernel compute them.
///
/// # Errors
/// The link is gone, or its kind knows no such setting.
pub fn set_tx_checksum(link: &LinkName, offload: bool) -> io::Result<()> {
    let any = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut value = EthtoolValue { command: ETHTOOL_STXCSUM, data: offload.into() };
    // SAFETY: all zeroes is a valid value of this plain C struct.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let name = link.0.as_bytes();
    if name.len() >= request.ifr_name.len() {
        return Err(Errno::ENODEV.into());
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name) {
        *place = *byte as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the kernel reads the request and, by the pointer in it, the value; both are whole, of the types that SIOCETHTOOL takes, and outlive the call.
    Errno::result(unsafe { libc::ioctl(any.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) })?;
    Ok(())
}
