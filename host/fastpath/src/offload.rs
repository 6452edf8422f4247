//! Which offloads are used: what lets one crossing into the kernel carry many packets.
//!
//! The wire does not change with them: a datagram is one inner packet. Each is tried, and left out where the kernel or the underlay has it
//! not; a setting leaves it out from the start.

use std::str::FromStr;

use twill_model::item::LinkName;
use twill_model::status::{Crossing, CrossingCounts};

pub use crate::counters::Crossed;

/// A set of offloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offloads {
    /// TCP super-packets to and from the TUN device (TUN_F_TSO4, TSO6).
    pub tso: bool,
    /// UDP super-packets to and from the TUN device (TUN_F_USO4, USO6; Linux 6.2).
    pub uso: bool,
    /// Many datagrams to one peer in one send (UDP_SEGMENT; Linux 4.18, and an underlay that computes checksums).
    pub gso: bool,
    /// Many datagrams from one peer in one receive (UDP_GRO; Linux 5.0).
    pub gro: bool,
}

impl Offloads {
    /// All of them.
    pub const ALL: Offloads = Offloads { tso: true, uso: true, gso: true, gro: true };
    /// None: one packet a crossing.
    pub const NONE: Offloads = Offloads { tso: false, uso: false, gso: false, gro: false };
}

impl Offloads {
    /// Their names, and how each stands in `self`.
    pub fn named(self) -> [(&'static str, bool); 4] {
        [("tso", self.tso), ("uso", self.uso), ("gso", self.gso), ("gro", self.gro)]
    }
}

impl FromStr for Offloads {
    type Err = NotOffloads;

    /// "auto" is all, "off" none; else the names of those that may be used, "tso,gro".
    fn from_str(text: &str) -> Result<Self, NotOffloads> {
        match text {
            "auto" => return Ok(Offloads::ALL),
            "off" => return Ok(Offloads::NONE),
            _ => {}
        }
        let mut offloads = Offloads::NONE;
        for name in text.split(',') {
            let place = match name.trim() {
                "tso" => &mut offloads.tso,
                "uso" => &mut offloads.uso,
                "gso" => &mut offloads.gso,
                "gro" => &mut offloads.gro,
                _ => return Err(NotOffloads(name.trim().into())),
            };
            *place = true;
        }
        Ok(offloads)
    }
}

/// A word that names no offload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotOffloads(String);

impl std::fmt::Display for NotOffloads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\" is no offload: say auto, off, or those to use out of tso, uso, gso, gro, such as tso,gro", self.0)
    }
}

impl std::error::Error for NotOffloads {}

impl Default for Offloads {
    fn default() -> Self {
        Offloads::ALL
    }
}

/// The offloads of a tunnel at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offloading {
    /// The tunnel.
    pub link: LinkName,
    /// Its queues.
    pub queues: usize,
    /// Those that are in force: asked for, and not missing in the kernel or refused by the underlay.
    pub in_force: Offloads,
    /// From pods.
    pub sent: Crossed,
    /// From the network.
    pub received: Crossed,
}

impl Offloading {
    /// The same as the API shows it.
    pub fn status(&self) -> Crossing {
        let named =
            |wanted: bool| self.in_force.named().into_iter().filter(|(_, has)| *has == wanted).map(|(name, _)| name.to_owned()).collect();
        Crossing {
            queues: self.queues,
            offloads: named(true),
            missing: named(false),
            sent: counts(self.sent),
            received: counts(self.received),
        }
    }
}

fn counts(crossed: Crossed) -> CrossingCounts {
    let Crossed { batches, super_packets, segments, sizes } = crossed;
    CrossingCounts { batches, super_packets, segments, sizes: sizes.to_vec() }
}

/// True on kernels known to send runs of equal packets with wrong UDP headers over some devices: Linux 7.0 (b10b446) until 7.1.4 (78effd8,
/// 5f17ae0). Distributions may have mended theirs earlier, which cannot be seen; there UDP_SEGMENT stays off for no reason but safety.
pub fn is_run_mangled_here() -> bool {
    nix::sys::utsname::uname().is_ok_and(|system| is_run_mangled(&system.release().to_string_lossy()))
}

fn is_run_mangled(release: &str) -> bool {
    let mut numbers = release.split(|other: char| !other.is_ascii_digit()).map(|number| number.parse::<u32>().unwrap_or(0));
    let version = [numbers.next(), numbers.next(), numbers.next()].map(|number| number.unwrap_or(0));
    ([7, 0, 0]..=[7, 1, 4]).contains(&version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offloads_are_read_by_name() {
        assert_eq!("auto".parse(), Ok(Offloads::ALL));
        assert_eq!("off".parse(), Ok(Offloads::NONE));
        assert_eq!("tso, gro".parse(), Ok(Offloads { tso: true, gro: true, ..Offloads::NONE }));
        assert!("tso,lro".parse::<Offloads>().expect_err("no such").to_string().contains("\"lro\" is no offload"));
    }

    #[test]
    fn kernels_that_mangle_runs_are_known_by_their_release() {
        for mangles in ["7.0.0-1-amd64", "7.0.12", "7.1", "7.1.4-arch1"] {
            assert!(is_run_mangled(mangles), "{mangles}");
        }
        for right in ["5.4.0-42-generic", "6.18.44-fc-v769", "7.1.5", "7.2.0-rc1", "", "weird"] {
            assert!(!is_run_mangled(right), "{right}");
        }
    }
}
