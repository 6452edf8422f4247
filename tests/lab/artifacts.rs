//! Where the built programs and plugins are, outside a world and inside it.

use std::path::{Path, PathBuf};

use crate::world::ROOT;

/// The target directory of the checkout, or `TWILL_TARGET`.
pub fn outside() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    std::env::var_os("TWILL_TARGET").map_or_else(default, PathBuf::from)
}

/// The same directory as a world sees it.
pub fn inside() -> PathBuf {
    Path::new(ROOT).join("target")
}

/// The daemon, seen from inside.
pub fn twill() -> PathBuf {
    inside().join("release/twill")
}

/// The folder of the plugins that twill ships, seen from inside.
pub fn plugins() -> PathBuf {
    inside().join("plugins")
}

/// The folder of the hostile plugins that only tests use, seen from inside.
pub fn hostile_plugins() -> PathBuf {
    inside().join("test-plugins")
}

/// What all labs have as /var/cache: plugins are compiled once for all of them.
pub fn cache() -> PathBuf {
    inside().join("lab-cache")
}

/// Where daemons' logs stay after a test, seen from inside.
pub fn logs(test: &str) -> PathBuf {
    let plain: String = test.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    inside().join("lab-logs").join(plain)
}

/// The daemon under flannel's name, seen from inside.
pub fn flanneld() -> std::io::Result<PathBuf> {
    let link = Path::new(ROOT).join("bin/flanneld");
    if !link.exists() {
        std::fs::create_dir_all(Path::new(ROOT).join("bin"))?;
        std::os::unix::fs::symlink(twill(), &link)?;
    }
    Ok(link)
}
