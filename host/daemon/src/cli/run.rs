//! `twill run`: the daemon.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use tracing_subscriber::EnvFilter;

use crate::exit::Exit;
use crate::node;
use crate::settings::{FirewallEngine, LogFormat, RunSettings};

/// Run the daemon of this host: take a subnet, and carry the containers' traffic to and from all other hosts.
///
/// It needs root (CAP_NET_ADMIN) and ends on SIGTERM or Ctrl-C, leaving leases and network state as they are; `twill down` takes them away.
/// Every flag can also be an environment variable (shown in brackets) or a line of the settings file: `store-dir = "/srv/twill"`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twill run --store file --store-dir /srv/twill
  twill run --store etcd --etcd-endpoints http://192.0.2.1:2379,http://192.0.2.2:2379 --iface eth1
  TWILL_STORE=file TWILL_STORE_DIR=/srv/twill twill run")]
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
        start_logging(&self.settings)?;
        notes.iter().for_each(|note| tracing::warn!("{note}"));
        let as_flanneld = !notes.is_empty();
        if as_flanneld && self.settings.firewall == FirewallEngine::Nft {
            tracing::warn!("rules are made in nftables, where flanneld's would be in iptables; TWILL_FIREWALL=iptables makes them there");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(Exit::failed)?;
        let ended = runtime.block_on(node::run(self.settings));
        runtime.shutdown_background();
        ended
    }
}

fn start_logging(settings: &RunSettings) -> Result<(), Exit> {
    // The netlink library warns of its own end.
    let filter = format!("netlink_proto=error,{}", settings.log);
    let filter = EnvFilter::try_new(filter).map_err(|error| Exit::usage(format!("--log \"{}\": {error}", settings.log)))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    match settings.log_format {
        LogFormat::Text => lines.with_target(false).init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}
