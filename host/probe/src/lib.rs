//! Does this way to this peer work? Echoes over the link of a way, whatever the routes say, small and as large as the link carries: before a peer is moved to
//! the way, and while it is in use.
//!
//! [`prober`] decides (what to send when, what an answer or its lack means, when to try again), [`track`] keeps what is known of one pair, [`packet`] makes and reads
//! the packets: all pure, the time is passed in. [`sockets`] is their only edge, and [`run`] joins them. [`knock`] hears the echoes of others.
//!
//! Where small echoes come back and large ones do not, the size that does is measured ([`size`]), and the routes to the peer say it.
//!
//! The echo leaves by the new way and its answer comes back by whatever way the peer uses: so it proves just one direction, the one that is asked about. A peer
//! needs nothing of twill's for it, its kernel answers, a flannel node's too.

pub mod checksum;
pub mod knock;
pub mod packet;
pub mod prober;
pub mod report;
pub mod road;
pub mod run;
pub mod size;
pub mod sockets;
pub mod track;
