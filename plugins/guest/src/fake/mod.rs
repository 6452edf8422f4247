//! A host for native unit tests: `cargo test` runs a plugin's own code against it, without WebAssembly and without a daemon.
//!
//! It belongs to the test's thread and begins empty in each: no directory, no servers, the clock at a fixed hour. Time passes only where a plugin waits,
//! so that tests need no patience; [`later`] lets something happen meanwhile, such as another node's write during a watch.
//!
//! ```
//! # #[cfg(feature = "store")] {
//! use twill_guest::fake;
//! use twill_guest::store::{clock, directory};
//!
//! fake::directory::grant();
//! directory::create("a", b"1").expect("created");
//! directory::wait(0);
//! fake::later(500, || drop(fake::directory::put("b", b"2")));
//! let before = clock::now();
//! assert!(directory::wait(10_000), "a change wakes");
//! assert_eq!(clock::now() - before, 500.0);
//! assert_eq!(fake::directory::names(), ["a", "b"]);
//! # }
//! ```

#[cfg(feature = "backend")]
pub mod cluster;
pub mod log;

#[cfg(feature = "store")]
pub mod clock;
#[cfg(feature = "store")]
pub mod directory;
#[cfg(feature = "store")]
pub mod http;

#[cfg(feature = "store")]
pub use clock::later;

/// Forgets everything: files, servers, log, and what was to happen later.
pub fn reset() {
    log::reset();
    #[cfg(feature = "store")]
    {
        clock::reset();
        directory::reset();
        http::reset();
    }
}
