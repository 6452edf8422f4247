//! The prober's wiring: what the last pass wants tried goes to it, its verdicts go to the reconciler's inputs, its reports to the API.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use twill_kernel::set_tx_checksum;
use twill_model::event::{Kind, Told, Weight};
use twill_model::item::LinkName;
use twill_model::proof::{Pair, Proofs, Target};
use twill_probe::checksum::Offload;
use twill_probe::report::Report;
use twill_probe::run::{Checksums, Wiring, run};
use twill_reconcile::view::Outcome;

use super::events::Events;
use crate::clock::now_ms;
use crate::settings::ways::TxChecksum;

/// What the prober says of each pair.
pub type Reports = Arc<BTreeMap<Pair, Report>>;

/// Where the prober's findings are read.
#[derive(Clone)]
pub struct Findings {
    /// Verdicts.
    pub proofs: watch::Receiver<Arc<Proofs>>,
    /// Everything else that there is to tell.
    pub reports: watch::Receiver<Reports>,
}

struct Ethtool;

impl Checksums for Ethtool {
    fn set(&self, link: &LinkName, offload: bool) -> io::Result<()> {
        set_tx_checksum(link, offload)
    }
}

/// The prober as a task, and where to read what it finds. Without raw sockets nothing is proved, which is told, and the node goes on by what it has.
pub fn prober(
    outcome: watch::Receiver<Arc<Outcome>>,
    checksum: TxChecksum,
    events: &Arc<Events>,
    shutdown: CancellationToken,
) -> (impl Future<Output = ()> + Send + 'static, Findings) {
    let proofs = watch::Sender::new(Arc::default());
    let reports = watch::Sender::new(Reports::default());
    let findings = Findings { proofs: proofs.subscribe(), reports: reports.subscribe() };
    let targets = watch::Sender::new(Arc::new(Vec::new()));
    let voice = events.voice("probe");
    let told = Arc::clone(&voice);
    let wiring = Wiring {
        targets: targets.subscribe(),
        proofs,
        reports,
        checksums: Ethtool,
        offload: match checksum {
            TxChecksum::Auto => Offload::Auto,
            TxChecksum::On => Offload::On,
            TxChecksum::Off => Offload::Off,
        },
        tell: Box::new(move |text| told(Weight::Warn, Told::new(Kind::Path, text))),
    };
    let task = async move {
        let feeding = feed(outcome, targets, shutdown.clone());
        let probing = async {
            if let Err(error) = run(wiring, now_ms() << 20, shutdown.clone()).await {
                let text = format!("ways to peers cannot be proved, and no peer is moved to another: {error}");
                voice(Weight::Error, Told::new(Kind::Path, text));
                shutdown.cancelled().await;
            }
        };
        tokio::join!(feeding, probing);
    };
    (task, findings)
}

/// Hands on what is to be tried, whenever it is something else.
async fn feed(mut outcome: watch::Receiver<Arc<Outcome>>, targets: watch::Sender<Arc<Vec<Target>>>, shutdown: CancellationToken) {
    loop {
        let now = outcome.borrow_and_update().targets.clone();
        targets.send_if_modified(|known| {
            let news = *known != now;
            if news {
                *known = now;
            }
            news
        });
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = outcome.changed() => if changed.is_err() { return },
        }
    }
}
