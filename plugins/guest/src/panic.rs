//! A panic's message, sent to the host's log before the trap.
//!
//! On `wasm32-unknown-unknown` a panic is a bare `unreachable` and its text is lost. [`log_panics!`](crate::log_panics) registers a hook when the
//! instance starts, so that the daemon's log names the line. The export macros use it; a plugin need not.

use crate::types::Level;

/// Sets the hook. Called once, by the constructor that `log_panics!` leaves in the module.
pub extern "C" fn set_hook() {
    std::panic::set_hook(Box::new(|panic| crate::log::write(Level::Error, &panic.to_string())));
}

/// Has the module call [`set_hook`](crate::panic::set_hook) before its first exported function runs.
#[macro_export]
macro_rules! log_panics {
    () => {
        // SAFETY: on wasm `.init_array` holds pointers to functions without arguments, which the linker's constructor routine calls once
        // before the first export runs; `set_hook` is such a function and touches nothing that is not yet set up.
        #[used]
        #[unsafe(link_section = ".init_array")]
        static LOG_PANICS: extern "C" fn() = $crate::panic::set_hook;
    };
}
