//! Round trips of one small packet at a time from pod to pod.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use lab::netns::NetNs;
use nix::sched::CpuSet;

use crate::path::cores;

/// Of so many packets one may be lost; a way that loses more has no round trips to speak of.
const MOST_LOST: usize = 200;

/// Microseconds that half of the round trips stay under, and 99 of 100.
#[derive(Debug, Clone, Copy)]
pub struct Echoed {
    /// The median.
    pub p50_us: f64,
    /// The 99th percentile.
    pub p99_us: f64,
}

/// Sends a packet, waits for its echo, and so on, so many times; with the pods' threads on the cores of their nodes where those are given.
pub fn echo(from: &NetNs, to: &NetNs, address: Ipv4Addr, times: usize, halves: Option<[CpuSet; 2]>) -> Result<Echoed> {
    let enter = |node: usize| halves.map_or(Ok(()), |halves| cores::enter(&halves[node]));
    let server = to.inside(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?))?;
    server.set_read_timeout(Some(Duration::from_millis(50)))?;
    let client = from.inside(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?))?;
    client.connect(SocketAddr::from((address, server.local_addr()?.port())))?;
    client.set_read_timeout(Some(Duration::from_secs(2)))?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let server = scope.spawn(|| enter(1).map(|()| answer(&server, &done)));
        let mut lost = 0;
        let trips: Result<Vec<f64>> = enter(0).and_then(|()| (0..times as u64).map(|number| trip(&client, number, &mut lost)).collect());
        done.store(true, Relaxed);
        server.join().map_err(|_| anyhow!("the answering thread panicked"))??;
        let mut trips = trips?;
        ensure!(!trips.is_empty(), "no round trips were asked for");
        ensure!(lost * MOST_LOST <= times, "{lost} of {times} packets or their echoes were lost on the way to {address}");
        trips.sort_by(f64::total_cmp);
        Ok(Echoed { p50_us: trips[trips.len() / 2], p99_us: trips[trips.len() * 99 / 100] })
    })
}

/// Microseconds until the echo. A packet that is lost, as any may be, is followed by one more, whose time then counts.
fn trip(client: &UdpSocket, number: u64, lost: &mut usize) -> Result<f64> {
    if let Some(time) = try_trip(client, 2 * number)? {
        return Ok(time);
    }
    *lost += 1;
    try_trip(client, 2 * number + 1)?.context("no echo, twice")
}

/// None when no echo comes. Echoes of earlier packets may come late.
fn try_trip(client: &UdpSocket, number: u64) -> Result<Option<f64>> {
    let (start, mut heard) = (Instant::now(), [0; 8]);
    client.send(&number.to_ne_bytes())?;
    loop {
        let len = match client.recv(&mut heard) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
            received => received?,
        };
        let echoed = u64::from_ne_bytes(heard);
        ensure!(len == heard.len() && echoed <= number, "an echo of another packet");
        if echoed == number {
            return Ok(Some(start.elapsed().as_secs_f64() * 1e6));
        }
    }
}

fn answer(server: &UdpSocket, done: &AtomicBool) {
    let mut room = [0; 64];
    while !done.load(Relaxed) {
        if let Ok((len, sender)) = server.recv_from(&mut room) {
            let _ = server.send_to(&room[..len], sender);
        }
    }
}
