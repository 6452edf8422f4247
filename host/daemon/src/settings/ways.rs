//! Settings of ways: what this node can have, how long an old way is kept, and checksums.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::duration;

/// Settings of ways.
#[derive(Debug, Clone, Args)]
pub struct WaySettings {
    /// Backends that this node cannot have, such as vxlan where the network filters it; it stays reachable by another that the cluster knows.
    #[arg(long, env = "TWILL_WITHOUT", value_name = "BACKEND", value_delimiter = ',', help_heading = "Network")]
    pub without: Vec<String>,
    /// How long this node goes on receiving by an old way after a change of backend, counted from when it was last in use to or from any peer. With thousands of peers no less than the default: each is looked after every five minutes.
    #[arg(long, env = "TWILL_KEEP_WAYS", value_name = "TIME", default_value = "10m", value_parser = duration, help_heading = "Network")]
    pub keep_ways: Duration,
    /// Who computes the checksums of what a VXLAN device sends: the network card, until large datagrams are found to vanish (auto); always the card (on); never (off).
    #[arg(long, env = "TWILL_VXLAN_TX_CHECKSUM", value_enum, default_value = "auto", help_heading = "Network")]
    pub vxlan_tx_checksum: TxChecksum,
}

/// Who computes checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TxChecksum {
    /// The card, until datagrams vanish.
    Auto,
    /// The card.
    On,
    /// The kernel.
    Off,
}
