//! The search for the underlay interface: what the operator set and what the store says of this node's address, put together.

use std::time::Duration;

use twill_kernel::Netlink;
use twill_kernel::underlay::{Chosen, UnderlayError, UnderlaySettings, Want};
use twill_lease::store::AddressHints;
use twill_model::Addresses;

use crate::settings::RunSettings;

/// Pause between two looks at a host that is still starting.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How the underlay is found, and found again after a change.
#[derive(Debug, Clone)]
pub struct Search {
    wanted: UnderlaySettings,
    overwrite: Addresses,
}

impl Search {
    /// The store's hints win over the flags, as in flannel. The network's families are not known yet: whatever the interface has is taken, and an address
    /// that was given must be of use.
    pub fn new(settings: &RunSettings, hints: AddressHints) -> Search {
        let want = |given: bool| if given { Want::Must } else { Want::IfThere };
        let wanted = UnderlaySettings {
            iface: settings.iface.clone(),
            iface_regex: settings.iface_regex.clone(),
            iface_can_reach: settings.iface_can_reach,
            public_ip: hints.choose.v4.or(settings.public_ip),
            public_ipv6: hints.choose.v6.or(settings.public_ipv6),
            v4: want(hints.choose.v4.is_some() || settings.public_ip.is_some()),
            v6: want(hints.choose.v6.is_some() || settings.public_ipv6.is_some()),
        };
        Search { wanted, overwrite: hints.overwrite }
    }

    /// The interface, and what to publish.
    ///
    /// # Errors
    /// None fits.
    pub async fn find(&self, kernel: &Netlink) -> Result<Chosen, UnderlayError> {
        Ok(self.published(kernel.choose_underlay(&self.wanted).await?))
    }

    /// As [`Search::find`]; what a host that is still starting lacks (a default route, an address) is waited for, and said once.
    ///
    /// # Errors
    /// None fits, and time alone will not change that.
    pub async fn wait_for_one(&self, kernel: &Netlink) -> Result<Chosen, UnderlayError> {
        let mut said = String::new();
        loop {
            match self.find(kernel).await {
                Err(error) if error.may_pass() => {
                    let text = error.to_string();
                    if text != said {
                        tracing::warn!("{text}; twill waits until it is there");
                        said = text;
                    }
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// The same interface as it is now.
    ///
    /// # Errors
    /// It is gone, or lost its addresses.
    pub async fn find_again(&self, kernel: &Netlink, before: &Chosen) -> Result<Chosen, UnderlayError> {
        Ok(self.published(kernel.follow_underlay(before, &self.wanted).await?))
    }

    fn published(&self, chosen: Chosen) -> Chosen {
        let Addresses { v4, v6 } = chosen.published;
        Chosen { published: Addresses { v4: self.overwrite.v4.or(v4), v6: self.overwrite.v6.or(v6) }, ..chosen }
    }
}
