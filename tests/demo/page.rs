//! A way out of the lab for the dashboard: a loopback port of the machine leads to a socket file in the lab, and that to the daemon's own loopback port on
//! a node. So the demo's page is what a browser on the node would see: for reading only.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::thread;

use nix::sys::socket::{Shutdown, shutdown};

/// Listens on the daemon's usual port, or on any that is free.
pub fn listen() -> io::Result<TcpListener> {
    TcpListener::bind("127.0.0.1:4646").or_else(|_| TcpListener::bind("127.0.0.1:0"))
}

/// Forwards every connection to a port of the machine, until the process ends.
pub fn forward_tcp(listener: TcpListener, dial: impl Fn() -> anyhow::Result<OwnedFd> + Clone + Send + 'static) {
    thread::spawn(move || listener.incoming().flatten().for_each(|client| forward(client.into(), dial.clone())));
}

/// Forwards every connection to a socket file, until the process ends.
pub fn forward_unix(listener: UnixListener, dial: impl Fn() -> anyhow::Result<OwnedFd> + Clone + Send + 'static) {
    thread::spawn(move || listener.incoming().flatten().for_each(|client| forward(client.into(), dial.clone())));
}

/// A client that comes before the daemon, or after it, gets a closed connection.
fn forward(client: OwnedFd, dial: impl Fn() -> anyhow::Result<OwnedFd> + Send + 'static) {
    thread::spawn(move || -> anyhow::Result<()> {
        let server = dial()?;
        let (back_from, back_to) = (server.try_clone()?, client.try_clone()?);
        thread::spawn(move || pour(back_from, back_to));
        Ok(pour(client, server)?)
    });
}

/// Copies until the end of `from`, and tells `to` of the end.
fn pour(from: OwnedFd, to: OwnedFd) -> io::Result<()> {
    let (mut from, mut to) = (File::from(from), File::from(to));
    let copied = io::copy(&mut from, &mut to);
    shutdown(to.as_raw_fd(), Shutdown::Write)?;
    copied.map(drop)
}
