//! What the machine says of itself before anything is started.

use std::path::Path;
use std::sync::Arc;

use nix::unistd::{Uid, gethostname};
use tokio::sync::watch;
use twill_lease::cluster::Cluster;

use crate::exit::Exit;

/// The host's name.
pub fn hostname() -> String {
    gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_else(|| "unnamed".into())
}

/// Changing the network takes root, here or in a user namespace.
///
/// # Errors
/// This process is somebody else's.
pub fn require_root() -> Result<(), Exit> {
    if Uid::effective().is_root() {
        Ok(())
    } else {
        Err(Exit::denied(
            "`twill run` changes links and routes and must be run as root (try sudo); the commands that only look need no root",
        ))
    }
}

/// Ends, with a sentence, once the config asks for backend udp and the kernel's TUN driver is missing.
pub async fn tun_is_missing(mut cluster: watch::Receiver<Arc<Cluster>>) -> Exit {
    // A keeper that ended says why by itself.
    let Ok(_) = cluster.wait_for(|cluster| cluster.config.as_ref().is_some_and(|config| config.backend == "udp")).await else {
        return std::future::pending().await;
    };
    if Path::new("/dev/net/tun").exists() {
        return std::future::pending().await;
    }
    Exit::lacking(
        "/dev/net/tun is missing, so no tunnel can be made: load the driver (modprobe tun), or in a container pass the device (--device /dev/net/tun)",
    )
}
