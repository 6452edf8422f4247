//! Tells cargo to embed the dashboard anew when `web/dist` changes. The folder is made if it is missing, because cargo takes a missing path
//! for one that always changes; while it is empty the binary carries the page that says how to build the dashboard.

use std::fs;

fn main() {
    const DIST: &str = "../../web/dist";
    // A source tree that cannot be written to is fine: the embedding allows a missing folder.
    let _ = fs::create_dir_all(DIST);
    println!("cargo::rerun-if-changed={DIST}");
    println!("cargo::rerun-if-changed=build.rs");
}
