//! The daemon's log.

pub use crate::types::Level;

/// Writes one line, under the plugin's name.
pub fn write(level: Level, text: &str) {
    #[cfg(target_family = "wasm")]
    crate::bindings::shared::twill::plugin::log::write(level, text);
    #[cfg(not(target_family = "wasm"))]
    crate::fake::log::take(level, text);
}
