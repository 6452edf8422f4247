//! The measurements, each in rounds in which all ways take their turn.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest, Sha256};
use twill_backend_udp::plan as native;
use twill_plugin::{Keys, LimitTable, PluginSettings, Plugins, Refusals};
use twill_reconcile::plan::{self, Memory};
use twill_reconcile::ports::Planner;

use crate::built;
use crate::cluster::{GUEST_ROAD, ROAD, context, guest_context, guest_lease, guest_way, inputs, lease};
use crate::report::Report;

const ROUNDS: usize = 15;
/// Calls that are timed together.
const CALLS: u32 = 500;
const PEERS: u16 = 5_000;
/// The plugins that twill comes with.
const SHIPPED: [&str; 5] = ["store-file.wasm", "store-etcd.wasm", "backend-udp.wasm", "backend-vxlan.wasm", "backend-host-gw.wasm"];

/// A home with these plugins.
struct Home(tempfile::TempDir);

impl Home {
    fn with(files: &[&str]) -> Result<Home> {
        let home = Home(tempfile::tempdir()?);
        std::fs::create_dir(home.plugins())?;
        for file in files {
            std::fs::write(home.plugins().join(file), built("plugins", file)?.1)?;
        }
        Ok(home)
    }

    fn plugins(&self) -> std::path::PathBuf {
        self.0.path().join("plugins")
    }

    async fn open(&self, cache: &Path) -> Result<Plugins> {
        let settings = PluginSettings {
            folders: vec![self.plugins()],
            cache: cache.into(),
            limits: LimitTable::default(),
            lock: None,
            kept: None,
            keys: Keys::default(),
        };
        Ok(Plugins::open(settings).await?)
    }

    fn cache(&self) -> std::path::PathBuf {
        self.0.path().join("cache")
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// One question, again and again.
pub async fn calls(report: &mut Report) -> Result<()> {
    let home = Home::with(&["backend-udp.wasm"])?;
    let plugins = home.open(&home.cache()).await?;
    let planner = plugins.planner(Refusals::default());
    let (context, peer) = (context(), lease(7));
    let (guest_context, guest_peer) = (guest_context(), guest_lease(&peer));
    let (over, guest_over) = (peer.ways[0].clone(), guest_way(&peer.ways[0]));
    let (mut by_native, mut by_plugin) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..CALLS {
            let items = native::send_to(&guest_context, &guest_peer, &guest_over, GUEST_ROAD);
            ensure!(std::hint::black_box(items).is_ok_and(|items| items.len() == 1), "the native backend gave no plan");
        }
        by_native.push(micros(start.elapsed() / CALLS));
        let start = Instant::now();
        for _ in 0..CALLS {
            let items = planner.send_to("udp", context.clone(), peer.clone(), over.clone(), ROAD).await?;
            ensure!(items.len() == 1, "the plugin gave no plan");
        }
        by_plugin.push(micros(start.elapsed() / CALLS));
    }
    let part = report.part("One call of `send-to`", "µs", Some("native"));
    part.row("native Rust", by_native);
    part.row("the plugin: passed to its task, converted, computed, checked", by_plugin);
    Ok(())
}

/// All questions of a large cluster.
pub async fn whole_plan(report: &mut Report) -> Result<()> {
    let home = Home::with(&["backend-udp.wasm"])?;
    let plugins = home.open(&home.cache()).await?;
    let planner = plugins.planner(Refusals::default());
    let (inputs, roads) = inputs(PEERS);
    let context = guest_context();
    let (mut by_native, mut by_plugin, mut again) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let mut count = 0;
        for peer in &inputs.peers {
            let (guest, over) = (guest_lease(peer), guest_way(&peer.ways[0]));
            let sending = native::send_to(&context, &guest, &over, GUEST_ROAD).map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
            let receiving = native::receive_from(&guest).map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
            count += std::hint::black_box(sending.len() + receiving.len());
        }
        by_native.push(millis(start.elapsed()));
        let mut memory = Memory::default();
        let start = Instant::now();
        let planned = plan::plan(&planner, &mut memory, &inputs, &roads).await;
        by_plugin.push(millis(start.elapsed()));
        ensure!(planned.failures.is_empty() && planned.items.len() == count + 3, "{} items, {:?}", planned.items.len(), planned.failures);
        let start = Instant::now();
        plan::plan(&planner, &mut memory, &inputs, &roads).await;
        again.push(millis(start.elapsed()));
    }
    let part = report.part("A plan for 5 000 peers, 10 000 calls", "ms", Some("native"));
    part.row("native Rust, the questions alone", by_native);
    part.row("the plugin, the reconciler's own work included", by_plugin);
    part.row("the same again: all answers are remembered", again);
    Ok(())
}

/// Opening the plugins that twill comes with.
pub async fn starts(report: &mut Report) -> Result<()> {
    let home = Home::with(&SHIPPED)?;
    drop(home.open(&home.cache()).await?);
    let (mut reading, mut cached, mut cold) = (vec![], vec![], vec![]);
    for round in 0..ROUNDS {
        let start = Instant::now();
        for file in SHIPPED {
            std::hint::black_box(Sha256::digest(std::fs::read(home.plugins().join(file))?));
        }
        reading.push(millis(start.elapsed()));
        let start = Instant::now();
        drop(home.open(&home.cache()).await?);
        cached.push(millis(start.elapsed()));
        let start = Instant::now();
        drop(home.open(&home.0.path().join(format!("cold-{round}"))).await?);
        cold.push(millis(start.elapsed()));
    }
    let part = report.part("Opening the five plugins that twill comes with", "ms", Some("reading"));
    part.row("reading the files and their digests alone", reading);
    part.row("compiled before", cached);
    part.row("compiled now", cold);
    Ok(())
}

/// What a plugin holds of memory, asked once and kept.
pub async fn memory(report: &mut Report) -> Result<()> {
    let home = Home::with(&SHIPPED)?;
    drop(home.open(&home.cache()).await?);
    let (mut opened, mut asked, mut linear) = (vec![], vec![], vec![]);
    // What was opened before stays open: memory that it gave back would be taken for no memory at all.
    let mut held = Vec::new();
    for _ in 0..ROUNDS {
        let before = anonymous_kb()?;
        let plugins = home.open(&home.cache()).await?;
        opened.push((anonymous_kb()? - before) / SHIPPED.len() as f64);
        let before = anonymous_kb()?;
        plugins.planner(Refusals::default()).receive_from("udp", context(), lease(7)).await?;
        asked.push(anonymous_kb()? - before);
        let status = plugins.status();
        let udp = status.iter().find(|plugin| plugin.name == "backend-udp").context("backend-udp is not listed")?;
        linear.push(udp.memory as f64 / 1024.0);
        held.push(plugins);
    }
    let part = report.part("Memory of a plugin", "KiB", None);
    part.row("loaded: anonymous memory of the process, each of five", opened);
    part.row("and an instance that was asked once", asked);
    part.row("linear memory that the instance has reserved", linear);
    Ok(())
}

fn anonymous_kb() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
    Ok(line.split_whitespace().next().context("no figure")?.parse()?)
}

/// From a file in its place to the new plugin in charge.
pub async fn swaps(report: &mut Report) -> Result<()> {
    let home = Home::with(&[])?;
    let place = home.plugins().join("backend-swap.wasm");
    let (old, new) = (built("test-plugins", "swap-backend-old.wasm")?.1, built("test-plugins", "swap-backend-new.wasm")?.1);
    let (mut told, mut cached, mut cold) = (vec![], vec![], vec![]);
    for round in 0..ROUNDS {
        for (cache, times) in [(home.cache(), &mut cached), (home.0.path().join(format!("cold-{round}")), &mut cold)] {
            std::fs::write(&place, &old)?;
            let plugins = home.open(&cache).await?;
            replace(&place, &new)?;
            let start = Instant::now();
            plugins.rescan().await?;
            times.push(millis(start.elapsed()));
            ensure!(plugins.status()[0].version == "1.1.0", "the new build did not take over");
        }
        std::fs::write(&place, &old)?;
        let plugins = home.open(&home.cache()).await?;
        let following = tokio::spawn({
            let plugins = plugins.clone();
            async move { plugins.follow_folders().await }
        });
        let mut changed = plugins.changed();
        changed.mark_unchanged();
        // The watch stands before the first look, which takes some milliseconds.
        tokio::time::sleep(Duration::from_millis(300)).await;
        replace(&place, &new)?;
        let start = Instant::now();
        changed.changed().await?;
        told.push(millis(start.elapsed()));
        following.abort();
    }
    let part = report.part("A swap: from the new file to the new plugin in charge", "ms", None);
    part.row("compiled before, asked to look", cached);
    part.row("compiled now, asked to look", cold);
    part.row("found by watching, after 200 ms of quiet", told);
    Ok(())
}

fn replace(place: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(place.with_extension("unfinished"), bytes)?;
    Ok(std::fs::rename(place.with_extension("unfinished"), place)?)
}
