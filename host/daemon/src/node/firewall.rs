//! The packet filter's rules for this node, by its settings, its config and its lease. Pure.

use twill_firewall::{FirewallInput, rules};
use twill_model::Prefixes;
use twill_model::firewall::Ruleset;

use crate::settings::{ForwardRules, RunSettings};

/// What the settings say of rules.
#[derive(Debug, Clone)]
pub struct Firewall {
    masquerade: bool,
    random: bool,
    forward: bool,
    instance: String,
}

impl Firewall {
    /// As the settings say.
    pub fn new(settings: &RunSettings) -> Firewall {
        Firewall {
            masquerade: settings.ip_masq,
            random: !settings.ip_masq_fully_random_disable,
            forward: settings.forward_rules == ForwardRules::Manage,
            instance: settings.instance.instance.clone(),
        }
    }

    /// The rules for a network and the own subnets in it.
    pub fn rules(&self, networks: Prefixes, subnets: Prefixes) -> Ruleset {
        let Firewall { masquerade, random, forward, .. } = *self;
        rules(&FirewallInput { networks, subnets, masquerade, forward, random, instance: &self.instance })
    }
}
