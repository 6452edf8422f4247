//! `twill down`: takes away everything that twill made on this host. The lease stays in the store, so that a later `twill run` gets the same subnet.

use std::path::Path;

use clap::Args;
use twill_kernel::lock::InstanceLock;
use twill_kernel::sysctl::Restored;
use twill_kernel::{Netlink, TakenDown};
use twill_lease::remembered;
use twill_model::NetworkConfig;
use twill_model::item::LinkName;
use twill_reconcile::links::Names;
use twill_reconcile::memory::NamesFile;

use super::wait_for;
use crate::compat::subnet_env;
use crate::exit::Exit;
use crate::node::inputs::networks;
use crate::node::{facts, firewall};
use crate::settings::InstanceSettings;

/// Take away all links, routes, rules, settings and files that twill made on this host; the daemon must have ended. The lease stays in the store.
#[derive(Debug, Args)]
pub struct Down {
    #[command(flatten)]
    instance: InstanceSettings,
}

impl Down {
    /// The same for this instance.
    pub fn of(instance: InstanceSettings) -> Down {
        Down { instance }
    }

    /// Takes all away, tells each thing, and goes on after a refusal.
    pub fn main(self) -> Result<(), Exit> {
        facts::require_root()?;
        let _alone = InstanceLock::take(&self.instance.run_dir.join(&self.instance.instance)).map_err(Exit::failed)?;
        if !self.instance.state().exists() {
            println!("twill never ran here as instance \"{}\": there is nothing to take away", self.instance.instance);
            return Ok(());
        }
        wait_for(async move { self.take_down().await })
    }

    async fn take_down(&self) -> Result<(), Exit> {
        let state = self.instance.state();
        let kernel = Netlink::open(state.join("sysctls.json")).map_err(Exit::failed)?;
        let file = NamesFile(state.join("links.json"));
        let links: Vec<LinkName> = file.load().ours().cloned().collect();
        let config = remembered::read(&state).ok().flatten().and_then(|book| NetworkConfig::parse(book.config.as_deref()?).ok());
        let ranges: Vec<_> = config.as_ref().map(|config| networks(config).iter().collect()).unwrap_or_default();
        let taken = kernel.take_down(&ranges, &links).await;
        for removed in &taken.removed {
            println!("removed {removed}");
        }
        let mut problems = refusals(&taken);
        // Before the file with them goes.
        let claims = ranges.into_iter().chain(subnet_env::networks(&self.instance.subnet_file)).collect();
        match kernel.take_rules_down(firewall::none(&self.instance.instance, claims)).await {
            Ok(taken) => taken.iter().for_each(|rules| println!("removed {rules}")),
            Err(refused) => problems.push(refused.to_string()),
        }
        match kernel.restore_sysctls() {
            Ok(restored) => restored.iter().for_each(|restored| tell_restored(restored, &mut problems)),
            Err(refused) => problems.push(refused.to_string()),
        }
        if taken.refused.is_empty()
            && let Err(error) = file.save(&Names::default())
        {
            problems.push(format!("cannot write {}: {error}", file.0.display()));
        }
        self.remove_subnet_file(&state.join("subnet.env"), &mut problems);
        if problems.is_empty() { Ok(()) } else { Err(Exit::failed(problems.join("\n       "))) }
    }

    /// Removes subnet.env if it is the one that this instance wrote; flannel's or another instance's is not ours.
    fn remove_subnet_file(&self, copy: &Path, problems: &mut Vec<String>) {
        let path = &self.instance.subnet_file;
        let Ok(written) = std::fs::read(copy) else { return };
        if std::fs::read(path).is_ok_and(|there| there == written) {
            match std::fs::remove_file(path) {
                Ok(()) => println!("removed {}", path.display()),
                Err(error) => problems.push(format!("cannot remove {}: {error}", path.display())),
            }
        }
        let _ = std::fs::remove_file(copy);
    }
}

fn tell_restored(restored: &Restored, problems: &mut Vec<String>) {
    match restored {
        Restored::Back(sysctl) => println!("set {} back to {}", sysctl.path, sysctl.value),
        Restored::Gone(_) => {}
        Restored::LeftAlone(sysctl) => println!("left {} at {}, which somebody else set since", sysctl.path, sysctl.value),
        Restored::Refused(refused) => problems.push(refused.to_string()),
    }
}

fn refusals(taken: &TakenDown) -> Vec<String> {
    taken.refused.iter().map(ToString::to_string).collect()
}
