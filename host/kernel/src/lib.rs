//! The kernel's network state, by rtnetlink, and by nft: observe it, change it, hear of changes by other hands. No netlink type leaves this room.
//!
//! - [`Netlink`] implements [`twill_reconcile::ports::Kernel`] with two connections, one to ask (`ask`) and one to listen (`monitor`).
//! - `link`, `address`, `route`, `neighbour` turn items into messages and messages into items; they do no I/O. `observe` joins what they read.
//! - `device` reads counters and sets who computes checksums.
//! - `ledger` knows which notifications tell of nothing new, so that our own writes wake nobody.
//! - `filter` has nft and iptables write and read the packet filter's rules (`programs` runs them); `filter_news` hears of changes to them.
//! - [`underlay`] chooses the interface that carries the tunnels; `interfaces` gathers what it chooses from.
//! - [`sysctl`] sets kernel settings and puts them back; [`lock`] holds an instance; [`rehearsal`] is a kernel in
//!   memory in front of the real one, to see what a plan would change.

mod address;
mod ask;
mod device;
mod filter;
mod filter_news;
mod interfaces;
mod ledger;
mod link;
pub mod lock;
mod monitor;
mod neighbour;
mod netlink;
mod next_hop;
mod observe;
mod programs;
pub mod rehearsal;
mod road;
mod route;
pub mod sysctl;
mod take_down;
pub mod underlay;
mod words;

pub use device::set_tx_checksum;
pub use netlink::Netlink;
pub use take_down::{OwnRoute, TakenDown};

/// The route protocol number (`rtm_protocol`, linux/rtnetlink.h) that marks our routes.
///
/// Numbers above `RTPROT_STATIC` (4) are for user space to share out. 73 is in none of the lists that we know of: iproute2's rt_protos (which ends
/// at 192 and has 42 and 99 below 128), FRR's (186 to 199), Calico (80). `ip route show proto 73` lists what twill made; a line `73 twill` in a file
/// below /etc/iproute2/rt_protos.d gives it a name.
pub const ROUTE_PROTOCOL: u8 = 73;
