//! The host's side of what plugins import, one file an interface; the directory has a room of its own.

pub(crate) mod clock;
pub(crate) mod http;
pub(crate) mod log;
pub(crate) mod wasi;
