//! `twill down`: takes away everything that twill made on this host. The lease stays in the store, so that a later `twill run` gets the same subnet.

use std::path::Path;

use clap::Args;
use ipnet::IpNet;
use twill_kernel::lock::InstanceLock;
use twill_kernel::sysctl::Restored;
use twill_kernel::{Netlink, OwnRoute, TakenDown};
use twill_lease::remembered;
use twill_model::NetworkConfig;
use twill_model::item::LinkName;
use twill_reconcile::files::NamesFile;
use twill_reconcile::links::Names;

use super::wait_for;
use crate::compat::{running_flanneld, subnet_env};
use crate::exit::Exit;
use crate::node::inputs::networks;
use crate::node::{facts, firewall};
use crate::settings::InstanceSettings;

/// Take away all links, routes, rules, settings and the subnet file that twill made on this host; the daemon must have ended, and no flanneld may have taken the links
/// up. The lease stays in the store, the node's id and history in its state directory.
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
        wait_for(async move { self.take_down().await })
    }

    async fn take_down(&self) -> Result<(), Exit> {
        let state = self.instance.state();
        let kernel = Netlink::open(state.join("sysctls.json")).map_err(Exit::failed)?;
        let file = NamesFile(state.join("links.json"));
        let kept = Kept::of(&state);
        let found = kernel.own_routes().await.map_err(Exit::failed)?;
        let Kept { links, networks: ranges } = kept.with(&found, &others(&self.instance));
        let taken = kernel.take_down(&ranges, &links).await;
        for removed in &taken.removed {
            println!("removed {removed}");
        }
        if taken.removed.is_empty() && !state.exists() {
            println!("twill never ran here as instance \"{}\", and there is nothing to take away", self.instance.instance);
        }
        if !taken.removed.is_empty() && !state.exists() {
            println!("left kernel settings as they are: {}, where they were kept as found, is gone", state.display());
        }
        let mut problems = refusals(&taken);
        // Before the file with them goes.
        let claims = ranges.iter().copied().chain(subnet_env::networks(&self.instance.subnet_file)).collect();
        match kernel.take_rules_down(firewall::none(&self.instance.instance, claims)).await {
            Ok(taken) => taken.iter().for_each(|rules| println!("removed {rules}")),
            Err(refused) => problems.push(refused.to_string()),
        }
        match kernel.restore_sysctls() {
            Ok(restored) => restored.iter().for_each(|restored| tell_restored(restored, &mut problems)),
            Err(refused) => problems.push(refused.to_string()),
        }
        if taken.refused.is_empty()
            && state.exists()
            && let Err(error) = file.save(&Names::default())
        {
            problems.push(format!("cannot write {}: {error}", file.0.display()));
        }
        self.remove_subnet_file(&state.join("subnet.env"), &ranges, &mut problems);
        if problems.is_empty() { Ok(()) } else { Err(Exit::failed(problems.join("\n       "))) }
    }

    /// Removes subnet.env if it is the one that this instance wrote; flannel's or another instance's is not ours. Where the copy by which it is known is lost, it
    /// is known by its network, in which twill's routes lay.
    fn remove_subnet_file(&self, copy: &Path, ranges: &[IpNet], problems: &mut Vec<String>) {
        let path = &self.instance.subnet_file;
        let Ok(there) = std::fs::read_to_string(path) else { return };
        let ours = match std::fs::read_to_string(copy) {
            Ok(written) => written == there,
            Err(_) => running_flanneld::networks(&there).iter().any(|network| ranges.iter().any(|range| network.contains(range))),
        };
        if ours {
            match std::fs::remove_file(path) {
                Ok(()) => println!("removed {}", path.display()),
                Err(error) => problems.push(format!("cannot remove {}: {error}", path.display())),
            }
        }
        let _ = std::fs::remove_file(copy);
    }
}

/// What an instance calls its own.
#[derive(Debug, Default, PartialEq, Eq)]
struct Kept {
    links: Vec<LinkName>,
    networks: Vec<IpNet>,
}

impl Kept {
    /// By what it wrote into its state directory.
    fn of(state: &Path) -> Kept {
        let config = remembered::read(state).ok().flatten().and_then(|book| NetworkConfig::parse(book.config.as_deref()?).ok());
        Kept {
            links: NamesFile(state.join("links.json")).load().ours().cloned().collect(),
            networks: config.as_ref().map(|config| networks(config).iter().collect()).unwrap_or_default(),
        }
    }

    /// And by the routes that are there: where what was written is lost, all that no other instance calls its own.
    fn with(mut self, found: &[OwnRoute], others: &[Kept]) -> Kept {
        let of = |kept: &Kept, route: &OwnRoute| {
            kept.links.contains(&route.on) || kept.networks.iter().any(|network| network.contains(&route.to))
        };
        let free: Vec<&OwnRoute> = found.iter().filter(|route| !others.iter().any(|other| of(other, route))).collect();
        if self.networks.is_empty() {
            self.networks = free.iter().map(|route| route.to).collect();
        }
        let inside = |route: &&&OwnRoute| route.own_link && self.networks.iter().any(|network| network.contains(&route.to));
        let new: Vec<LinkName> = free.iter().filter(inside).map(|route| route.on.clone()).collect();
        self.links.extend(new);
        self.links.sort();
        self.links.dedup();
        self
    }
}

/// What the other instances of this host call their own.
fn others(instance: &InstanceSettings) -> Vec<Kept> {
    let entries = std::fs::read_dir(&instance.state_dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| *path != instance.state()).map(|path| Kept::of(&path)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn route(to: &str, on: &str, own_link: bool) -> OwnRoute {
        OwnRoute { to: to.parse().expect("a prefix"), on: LinkName(on.into()), own_link }
    }

    fn kept(links: &[&str], networks: &[&str]) -> Kept {
        let links = links.iter().map(|name| LinkName((*name).into())).collect();
        Kept { links, networks: networks.iter().map(|net| net.parse().expect("a prefix")).collect() }
    }

    #[test]
    fn what_was_written_is_completed_by_the_routes_inside_its_networks() {
        let found =
            [route("10.50.3.0/24", "flannel.1", true), route("10.50.4.0/24", "eth0", false), route("10.77.3.0/24", "flannel.7", true)];
        let all = kept(&["flannel0"], &["10.50.0.0/16"]).with(&found, &[]);
        assert_eq!(all, kept(&["flannel.1", "flannel0"], &["10.50.0.0/16"]));
    }

    #[test]
    fn where_it_is_lost_all_is_taken_that_is_no_other_instances() {
        let found =
            [route("10.50.0.0/16", "flannel0", true), route("10.50.4.0/24", "eth0", false), route("10.77.0.0/16", "flannel1", true)];
        let other = [kept(&["flannel1"], &[]), kept(&[], &["10.50.4.0/22"])];
        assert_eq!(Kept::default().with(&found, &other), kept(&["flannel0"], &["10.50.0.0/16"]));
        assert_eq!(Kept::default().with(&found, &[]).links.len(), 2);
        assert_eq!(Kept::default().with(&[], &other), Kept::default());
    }
}
