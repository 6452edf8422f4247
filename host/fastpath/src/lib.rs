//! The fast path: forwards packets between TUN devices and UDP sockets with threads of its own, in flannel's udp wire format (a datagram
//! is exactly one inner IP packet, nothing before or after it).
//!
//! The control plane talks to [`Tunnels`] alone, which implements [`twill_reconcile::ports::Forwarder`]; what the packets are forwarded by
//! comes in as one immutable table, swapped at once. The way of a packet is told by [`pump`]; what becomes of it is decided in [`verdict`],
//! which is pure, as are the modules below it (header, checksum, vnet, transport, split, merge, coalesce, pieces, run, fragment, icmp, icmp6,
//! lookup, table, peer, pace, counters). What a lone packet would wait for is kept short by [`pace`], [`schedule`] and [`awake`].
//!
//! One crossing into the kernel carries many packets where [`offload`] finds that it can: super-packets from pods are split into runs for
//! UDP_SEGMENT, datagrams that UDP_GRO gives at once are checked one by one and joined again for the TUN device. On the wire none of it is
//! seen.
//!
//! Unsafe code is in two modules that wrap system calls, [`syscall`] and [`mmsg`], and nowhere else; [`checksum`] lets a macro of `multiversion` ask what the
//! processor has.
//!
//! Not here: addresses, routes, MTU and state of the TUN device (the kernel room's), and every decision on who is a peer.

#![deny(unsafe_code)]

pub mod awake;
pub mod bulk;
pub mod checksum;
pub mod clock;
pub mod coalesce;
pub mod counters;
pub mod drops;
pub mod ends;
pub mod fragment;
pub mod head;
pub mod header;
pub mod heavy;
pub mod icmp;
pub mod icmp6;
pub mod lookup;
pub mod merge;
#[allow(unsafe_code)]
pub mod mmsg;
pub mod offload;
pub mod pace;
pub mod peer;
pub mod pieces;
pub mod pump;
pub mod receiving;
pub mod run;
pub mod schedule;
pub mod sending;
pub mod split;
#[allow(unsafe_code)]
pub mod syscall;
pub mod table;
pub mod transport;
pub mod tun;
pub mod udp;
pub mod verdict;
pub mod vnet;

mod forwarder;
mod frames;
mod inbound;
mod outbound;
mod outbox;
#[cfg(test)]
mod packets;
mod signal;
mod turn;
mod writing;

pub use awake::has_cores_to_spare;
pub use drops::{DropReason, Offender};
pub use forwarder::{Settings, Tunnels, queues_for};
pub use offload::{Crossed, Offloading, Offloads};
