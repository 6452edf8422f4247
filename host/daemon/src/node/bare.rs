//! Which own ways without a link are used. Nothing counts what arrives by one, so peers' echoes tell: a peer that sends by such a way proves it again and again, and
//! one that has moved on does not.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::net::if_::if_indextoname;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use twill_model::Way;
use twill_probe::knock::{Knock, Knocks};
use twill_reconcile::view::Outcome;

use super::usage::Usage;

/// The pause after an echo: one tells as much as many.
const PAUSE: Duration = Duration::from_secs(1);
/// The pause after no socket could be had.
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// What is followed.
pub struct Bare {
    /// The record of use.
    pub usage: Arc<Usage>,
    /// The last pass: which way has which links.
    pub outcome: watch::Receiver<Arc<Outcome>>,
}

impl Bare {
    /// Runs until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let _ = shutdown.run_until_cancelled(async { while self.follow().await {} }).await;
    }

    /// Hears an echo, or that the ways are others. False when there is no more to come.
    async fn follow(&mut self) -> bool {
        let outcome = self.outcome.borrow_and_update().clone();
        let ways = linkless(&outcome);
        // One that is alone is not given up.
        if ways.is_empty() || outcome.own_ways.len() < 2 {
            return self.outcome.changed().await.is_ok();
        }
        let knocks = match Knocks::open() {
            Ok(knocks) => knocks,
            Err(error) => {
                tracing::debug!(%error, "cannot hear peers' echoes");
                tokio::time::sleep(TRY_AGAIN).await;
                return true;
            }
        };
        let heard = async { while !is_bare(knocks.next().await, &outcome) {} };
        tokio::select! {
            () = heard => {
                ways.into_iter().for_each(|way| self.usage.note(way));
                drop(knocks);
                tokio::time::sleep(PAUSE).await;
                true
            }
            changed = self.outcome.changed() => changed.is_ok(),
        }
    }
}

/// The own ways that have no link.
fn linkless(outcome: &Outcome) -> Vec<&Way> {
    let linked: BTreeSet<&str> = outcome.items.iter().filter(|item| item.kind == "link").map(|item| item.backend.as_str()).collect();
    outcome.own_ways.iter().filter(|(name, _)| !linked.contains(name.as_str())).map(|(_, way)| way).collect()
}

/// True for an echo to the own base address by a link that is no way's.
fn is_bare(knock: Knock, outcome: &Outcome) -> bool {
    // For an index that is gone nix may answer with no error and no name.
    let link = if_indextoname(knock.link).ok().and_then(|name| name.into_string().ok()).filter(|name| !name.is_empty());
    asks_base(knock.to, outcome) && link.is_some_and(|link| !outcome.items.iter().any(|item| item.kind == "link" && item.what == link))
}

fn asks_base(address: IpAddr, outcome: &Outcome) -> bool {
    outcome.subnets.iter().any(|subnet| subnet.network() == address)
}

#[cfg(test)]
mod tests {
    use twill_model::status::{ItemStatus, Standing};

    use super::*;

    fn outcome() -> Outcome {
        let link = |what: &str, backend: &str| ItemStatus {
            kind: "link".into(),
            what: what.into(),
            desired: None,
            observed: None,
            standing: Standing::Present,
            backend: backend.into(),
            lease: None,
            reason: None,
        };
        let way = |backend: &str| Way { backend: backend.into(), options: "{}".into(), data_v4: None, data_v6: None };
        Outcome {
            subnets: twill_model::Prefixes { v4: Some("10.1.2.0/24".parse().expect("a prefix")), v6: None },
            items: Arc::new(vec![link("flannel.1", "vxlan"), link("lo", "udp")]),
            own_ways: ["vxlan", "host-gw", "udp"].map(|backend| (backend.to_owned(), way(backend))).into(),
            ..Outcome::default()
        }
    }

    #[test]
    fn only_a_way_without_a_link_is_heard() {
        assert_eq!(linkless(&outcome()).into_iter().map(|way| way.backend.as_str()).collect::<Vec<_>>(), ["host-gw"]);
    }

    #[test]
    fn an_echo_counts_that_asks_the_base_address_by_no_ways_link() {
        let loopback = nix::net::if_::if_nametoindex("lo").expect("every machine has it");
        let knock = |to: &str| Knock { to: to.parse().expect("an address"), link: loopback };
        let with_lo = outcome();
        let without = Outcome { items: Arc::default(), ..outcome() };
        assert!(is_bare(knock("10.1.2.0"), &without));
        assert!(!is_bare(knock("10.1.2.0"), &with_lo), "by a way's own link");
        assert!(!is_bare(knock("192.0.2.1"), &without), "the underlay's address is asked for other reasons");
        assert!(!is_bare(Knock { link: u32::MAX, ..knock("10.1.2.0") }, &without), "the link is gone");
    }
}
