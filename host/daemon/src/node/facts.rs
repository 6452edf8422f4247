//! What the machine says of itself before anything is started.

use nix::unistd::{Uid, gethostname};

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

/// The data path of backend udp needs the kernel's TUN driver.
///
/// # Errors
/// The device file is missing.
pub fn require_tun() -> Result<(), Exit> {
    let device = std::path::Path::new("/dev/net/tun");
    if device.exists() {
        Ok(())
    } else {
        Err(Exit::lacking(
            "/dev/net/tun is missing, so no tunnel can be made: load the driver (modprobe tun), or in a container pass the device (--device /dev/net/tun)",
        ))
    }
}
