//! The pumps of a tunnel: threads a queue, one that carries packets from the TUN device to peers (`outbound`), and for each address family of
//! the underlay one that carries datagrams from the network to the TUN device (`inbound`).
//!
//! A pump drains its source in batches without sleeping, takes the table once a batch, and sleeps only when its source is empty. It takes
//! no lock, allocates nothing and logs nothing per packet. It ends when told; or when it
//! finds that the device was deleted under it, which the pump of the way out does at once: then the tunnel is lost, and whoever opens or closes it ends the others.
//!
//! It sleeps in the very call that gives it packets, which costs a lone packet two system calls less on each host than asking first (poll). Such a sleep ends
//! by a packet, an error or a signal: SIGURG, which does nothing otherwise.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use twill_reconcile::ports::Refused;

use crate::ends::{Ends, Shared};
use crate::signal::{self, Signal};
use crate::{inbound, outbound, syscall};

/// Between two signals to a pump that is to end.
const AGAIN: Duration = Duration::from_micros(200);

/// The running threads of a tunnel.
#[derive(Debug)]
pub struct Pumps {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Pumps {
    /// Starts a thread for each of the ends: out of the device, and into it. `link` names them.
    pub fn start(link: &str, shared: Arc<Shared>, out: Vec<Ends>, into: Vec<Ends>) -> Result<Self, Refused> {
        let refused = |error: std::io::Error| Refused { act: "let a signal interrupt threads".into(), cause: error.to_string() };
        syscall::make_interruptible().map_err(refused)?;
        let mut pumps = Pumps { shared, threads: Vec::new() };
        for ends in out {
            pumps.spawn(format!("out {link}"), ends, outbound::run)?;
        }
        for ends in into {
            pumps.spawn(format!("in {link}"), ends, inbound::run)?;
        }
        Ok(pumps)
    }

    /// True once the device was deleted under them, or one of them failed.
    pub fn are_lost(&self) -> bool {
        self.shared.signal.is_lost()
    }

    fn spawn(&mut self, name: String, ends: Ends, run: fn(&Ends)) -> Result<(), Refused> {
        let body = move || {
            let guard = LostOnPanic(&ends.shared.signal);
            signal::accept_interrupts();
            run(&ends);
            drop(guard);
        };
        let refused = |error: std::io::Error| Refused { act: format!("start thread \"{name}\""), cause: error.to_string() };
        self.threads.push(thread::Builder::new().name(name.clone()).spawn(body).map_err(refused)?);
        Ok(())
    }
}

impl std::ops::Drop for Pumps {
    /// Ends the threads and waits for them: they finish the batch at hand, which takes far less than a millisecond, or a pause of some.
    fn drop(&mut self) {
        self.shared.signal.end();
        while self.threads.iter().any(|thread| !thread.is_finished()) {
            // One that was about to sleep misses it, and is told again.
            self.threads.iter().for_each(signal::interrupt);
            thread::sleep(AGAIN);
        }
        for thread in self.threads.drain(..) {
            // A panic was reported by its thread, and made the tunnel a lost one.
            let _ = thread.join();
        }
    }
}

struct LostOnPanic<'a>(&'a Signal);

impl std::ops::Drop for LostOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lose();
        }
    }
}
