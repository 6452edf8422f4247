//! TCP from pod to pod, by iperf3 and by threads of this process: bytes that arrive while a window of time is open, and for the latter the processor time of the
//! whole machine meanwhile.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::cgroups::Scheduled;
use lab::netns::NetNs;
use lab::process::json;
use lab::wait_until;

/// Before the window opens, for TCP to find its speed.
const WARM_UP: Duration = Duration::from_millis(200);
/// How long a way may take to carry anything at all.
const PATIENCE: Duration = Duration::from_secs(5);
/// What iperf3 writes at once.
const CHUNK: usize = 128 << 10;
const IPERF_PORT: &str = "5999";

/// What a window saw.
#[derive(Debug, Clone, Copy)]
pub struct Streamed {
    /// Gigabits that arrived a second.
    pub gbit_s: f64,
    /// Seconds of processor time a gigabyte, all that the machine spent.
    pub cpu_s_gb: f64,
}

/// Fills so many streams from a pod to an address in another for `window`.
pub fn stream(from: &NetNs, to: &NetNs, address: Ipv4Addr, streams: usize, window: Duration) -> Result<Streamed> {
    let listener = to.inside(|| Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?))?;
    let target = SocketAddr::from((address, listener.local_addr()?.port()));
    let connect = |_| -> Result<(TcpStream, TcpStream)> {
        let out = from.inside(|| TcpStream::connect_timeout(&target, PATIENCE).context("cannot connect"))?;
        // A way that carries nothing any more must not keep the threads from ending.
        out.set_write_timeout(Some(PATIENCE))?;
        let into = listener.accept()?.0;
        into.set_read_timeout(Some(PATIENCE))?;
        Ok((out, into))
    };
    let pairs: Vec<(TcpStream, TcpStream)> = (0..streams).map(connect).collect::<Result<_>>()?;
    let (arrived, done) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for (out, into) in &pairs {
            scope.spawn(|| fill(out, &done));
            scope.spawn(|| drain(into, &arrived));
        }
        thread::sleep(WARM_UP);
        let (start, bytes, cpu) = (Instant::now(), arrived.load(Relaxed), cpu_seconds());
        thread::sleep(window);
        let (seconds, bytes) = (start.elapsed().as_secs_f64(), (arrived.load(Relaxed) - bytes) as f64);
        let used = cpu_seconds().and_then(|now| Ok(now - cpu?));
        done.store(true, Relaxed);
        ensure!(bytes > 0.0, "nothing arrived");
        Ok(Streamed { gbit_s: bytes * 8e-9 / seconds, cpu_s_gb: used? / (bytes * 1e-9) })
    })
}

/// Gigabits that arrive a second as iperf3 has it, with so many streams: one process and one thread at either end, whatever their number (3.12).
pub fn iperf(from: &NetNs, to: &NetNs, address: Ipv4Addr, streams: usize, window: Duration) -> Result<f64> {
    iperf_by(&|| from.command("iperf3"), to.command("iperf3")?, address, streams, window)
}

/// The same with each pod in a control group of its own, as containers are; none where there cannot be any.
pub fn iperf_in_groups(from: &NetNs, to: &NetNs, address: Ipv4Addr, streams: usize, window: Duration) -> Result<Option<f64>> {
    let Some((sender, receiver)) = Scheduled::new("from").zip(Scheduled::new("to")) else { return Ok(None) };
    iperf_by(&|| sender.command(from, "iperf3"), receiver.command(to, "iperf3")?, address, streams, window).map(Some)
}

fn iperf_by(client: &dyn Fn() -> Result<Command>, mut server: Command, address: Ipv4Addr, streams: usize, window: Duration) -> Result<f64> {
    let mut server = server.args(["-s", "-p", IPERF_PORT]).stdout(Stdio::null()).spawn().context("cannot start iperf3")?;
    let (address, streams, seconds) = (address.to_string(), streams.to_string(), window.as_secs().max(1).to_string());
    let words = ["-c", &address, "-p", IPERF_PORT, "-P", &streams, "-t", &seconds, "-J", "--connect-timeout", "2000"];
    // The server may not listen yet; that is said in the answer alone.
    let bits = wait_until("iperf3", PATIENCE, || {
        let answer = json(client()?.args(words))?;
        answer["end"]["sum_received"]["bits_per_second"].as_f64().with_context(|| format!("iperf3 tells no sum: {}", answer["error"]))
    });
    let _ = server.kill();
    server.wait()?;
    Ok(bits? / 1e9)
}

/// Ends, and with it the stream, once `done`; the receiver takes all until then.
fn fill(mut out: &TcpStream, done: &AtomicBool) {
    let chunk = vec![7; CHUNK];
    while !done.load(Relaxed) && out.write_all(&chunk).is_ok() {}
    let _ = out.shutdown(std::net::Shutdown::Both);
}

fn drain(mut into: &TcpStream, arrived: &AtomicU64) {
    let mut room = vec![0; CHUNK];
    while let Ok(len @ 1..) = into.read(&mut room) {
        arrived.fetch_add(len as u64, Relaxed);
    }
}

/// What all processors have spent on anything but idling since the machine started, in seconds: /proc/stat counts ticks of 10 ms.
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let fields: Vec<f64> = stat.lines().next().unwrap_or_default().split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq
    let [user, nice, system, _, _, irq, softirq, ..] = fields[..] else { anyhow::bail!("/proc/stat has another form") };
    Ok((user + nice + system + irq + softirq) / 100.0)
}
