//! Time, for stores.

#[cfg(target_family = "wasm")]
use crate::bindings::store::twill::plugin::clock;
#[cfg(not(target_family = "wasm"))]
use crate::fake::clock;

/// Milliseconds since the Unix epoch, a whole number; moves on steadily within one exported call.
pub fn now() -> f64 {
    clock::now()
}

/// Returns after so many milliseconds.
pub fn sleep(milliseconds: u32) {
    clock::sleep(milliseconds);
}
