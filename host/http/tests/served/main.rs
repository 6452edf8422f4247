//! Real requests over real sockets, a subject a file.

mod access;
mod api;
mod dist;
mod grafana;
mod load;
#[path = "../sample/mod.rs"]
mod sample;
#[path = "../wire/mod.rs"]
mod wire;
