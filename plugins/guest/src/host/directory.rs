//! One flat directory that the operator has granted. Writes are whole, atomic and conditional on a version.

#[cfg(target_family = "wasm")]
use crate::bindings::store::twill::plugin::directory;
#[cfg(not(target_family = "wasm"))]
use crate::fake::directory;

pub use crate::bindings::store::twill::plugin::directory::{Entry, Failure};

/// All files, by name.
///
/// # Errors
/// The directory is not granted, or cannot be listed.
pub fn listing() -> Result<Vec<Entry>, Failure> {
    directory::listing()
}

/// Content and entry of a file; the two belong together.
///
/// # Errors
/// There is no such file, or it cannot be read.
pub fn read(name: &str) -> Result<(Vec<u8>, Entry), Failure> {
    directory::read(name)
}

/// Makes a file that does not exist yet. Of several callers one succeeds.
///
/// # Errors
/// It exists, or cannot be written.
pub fn create(name: &str, content: &[u8]) -> Result<Entry, Failure> {
    directory::create(name, content)
}

/// Replaces a file that still has `version`.
///
/// # Errors
/// It was changed or is gone, or cannot be written.
pub fn replace(name: &str, content: &[u8], version: &str) -> Result<Entry, Failure> {
    directory::replace(name, content, version)
}

/// Removes a file that still has `version`.
///
/// # Errors
/// It was changed or is gone.
pub fn remove(name: &str, version: &str) -> Result<(), Failure> {
    directory::remove(name, version)
}

/// True as soon as something may have changed since the call before this one; false when `milliseconds` have passed.
pub fn wait(milliseconds: u32) -> bool {
    directory::wait(milliseconds)
}
