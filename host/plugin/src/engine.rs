//! The WebAssembly engine, and the ticker that lets it interrupt a guest.
//!
//! The flags make plans repeatable (canonical NaNs, no relaxed SIMD), keep address space small and allow a call to be ended. The ticker
//! is a thread of its own, since a
//! guest that computes holds a worker of the runtime; it sleeps whenever no guest computes, so that an idle daemon costs nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::Thread;
use std::time::Duration;

use wasmtime::{Config, Engine, EngineWeak};

use crate::error::PluginError;

/// How often a computing guest is looked at.
const TICK: Duration = Duration::from_millis(10);
/// Ticks without a computing guest after which the ticker goes to sleep; calls come in bursts, and waking it costs more than a tick.
const LINGER: u32 = 10;

/// The engine as twill wants it.
pub(crate) fn engine() -> Result<Engine, PluginError> {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .concurrency_support(false)
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .memory_reservation(1 << 30)
        .memory_guard_size(2 << 20)
        .memory_reservation_for_growth(0)
        .max_wasm_stack(1 << 20)
        .async_stack_size(3 << 19)
        .wasm_backtrace_max_frames(None);
    Engine::new(&config).map_err(|error| PluginError::Engine(error.root_cause().to_string()))
}

/// The thread that advances the engine's epoch while guests compute.
#[derive(Clone)]
pub(crate) struct Ticker(Arc<Beat>);

struct Beat {
    computing: AtomicUsize,
    asleep: AtomicBool,
    thread: Option<Thread>,
}

impl Ticker {
    /// Starts the thread for `engine`; it ends with the last ticker.
    pub(crate) fn start(engine: &Engine) -> Result<Ticker, PluginError> {
        let engine = engine.weak();
        let (sender, receiver) = std::sync::mpsc::sync_channel::<std::sync::Weak<Beat>>(1);
        let handle = std::thread::Builder::new()
            .name("wasm-ticker".into())
            .spawn(move || receiver.recv().map(|beat| run(&beat, &engine)))
            .map_err(|error| PluginError::Engine(format!("no thread for the ticker: {error}")))?;
        let beat = Arc::new(Beat::new(Some(handle.thread().clone())));
        // The thread waits for just this message.
        let _ = sender.send(Arc::downgrade(&beat));
        Ok(Ticker(beat))
    }

    /// A ticker without a thread.
    #[cfg(test)]
    pub(crate) fn idle() -> Ticker {
        Ticker(Arc::new(Beat::new(None)))
    }

    /// A mark for one instance.
    pub(crate) fn running(&self) -> Running {
        Running { beat: self.0.clone(), on: false }
    }
}

impl Beat {
    fn new(thread: Option<Thread>) -> Beat {
        Beat { computing: AtomicUsize::new(0), asleep: AtomicBool::new(false), thread }
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.unpark();
        }
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.wake();
    }
}

/// Says whether one instance computes; while any does, the ticker ticks.
pub(crate) struct Running {
    beat: Arc<Beat>,
    on: bool,
}

impl Running {
    pub(crate) fn start(&mut self) {
        if !std::mem::replace(&mut self.on, true) {
            self.beat.computing.fetch_add(1, SeqCst);
            if self.beat.asleep.swap(false, SeqCst) {
                self.beat.wake();
            }
        }
    }

    pub(crate) fn stop(&mut self) {
        if std::mem::replace(&mut self.on, false) {
            self.beat.computing.fetch_sub(1, SeqCst);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The thread: ticks while the beat and the engine live.
fn run(beat: &std::sync::Weak<Beat>, engine: &EngineWeak) {
    let mut quiet = 0;
    while let Some(beat) = beat.upgrade() {
        quiet = if beat.computing.load(SeqCst) == 0 { quiet + 1 } else { 0 };
        if quiet > LINGER {
            beat.asleep.store(true, SeqCst);
            // Whoever starts to compute between the two lines clears the mark and unparks, and the park returns at once.
            if beat.computing.load(SeqCst) == 0 {
                drop(beat);
                std::thread::park();
            }
            quiet = 0;
            continue;
        }
        drop(beat);
        std::thread::sleep(TICK);
        match engine.upgrade() {
            Some(engine) => engine.increment_epoch(),
            None => return,
        }
    }
}
