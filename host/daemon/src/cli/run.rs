//! `twill run`: the daemon.

use std::path::PathBuf;

use clap::Args;

use super::down::Down;
use super::logs;
use crate::exit::Exit;
use crate::node::{self, Ended};
use crate::settings::{FirewallEngine, RunSettings};

/// Run the daemon of this host: take a subnet, and carry the containers' traffic to and from all other hosts.
///
/// It needs root (CAP_NET_ADMIN) and ends on SIGTERM or Ctrl-C, leaving leases and network state as they are; `twill down` takes them away.
/// Every flag can also be an environment variable (shown in brackets) or a line of the settings file: `store-dir = "/srv/twill"`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twill run --store file --store-dir /srv/twill
  twill run --store etcd --etcd-endpoints http://192.0.2.1:2379,http://192.0.2.2:2379 --iface eth1
  TWILL_STORE=file TWILL_STORE_DIR=/srv/twill twill run
  openssl rand -hex 32 > /etc/twill/token; chmod 600 /etc/twill/token
  twill run --store file --store-dir /srv/twill --listen 0.0.0.0:4646 --api-token-file /etc/twill/token")]
pub struct Run {
    /// Settings file (TOML); without it /etc/twill/twill.toml, if that is there.
    #[arg(long, env = "TWILL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The daemon's settings.
    #[command(flatten)]
    pub settings: RunSettings,
}

impl Run {
    /// Runs until told to end; `notes` are the first lines of the log.
    pub fn main(self, notes: &[String]) -> Result<(), Exit> {
        self.settings.check().map_err(Exit::usage)?;
        logs::start(&self.settings.log, self.settings.log_format)?;
        let for_machines = logs::are_for_machines(self.settings.log_format);
        let instance = self.settings.instance.clone();
        notes.iter().for_each(|note| tracing::warn!("{note}"));
        let as_flanneld = !notes.is_empty();
        if as_flanneld && self.settings.firewall == FirewallEngine::Nft {
            tracing::warn!("rules are made in nftables, where flanneld's would be in iptables; TWILL_FIREWALL=iptables makes them there");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(Exit::failed)?;
        let ended = runtime.block_on(node::run(self.settings));
        runtime.shutdown_background();
        let ended = ended.and_then(|ended| if ended == Ended::Drained { Down::of(instance).main() } else { Ok(()) });
        // Whoever gathers log lines wants the last one, which says why it ended, as the others are.
        ended.map_err(|exit| if for_machines { exit.logged() } else { exit })
    }
}
