//! The packet filter's rules for this node, by its settings, its config and its lease. Pure.

use ipnet::IpNet;
use twill_firewall::{FirewallInput, rules, table_name};
use twill_model::Prefixes;
use twill_model::firewall::{Engine, Ruleset};

use crate::settings::{FirewallEngine, ForwardRules, RunSettings};

/// What the settings say of rules, and what networks this node was in.
#[derive(Debug, Clone)]
pub struct Firewall {
    masquerade: bool,
    clamp_mss: bool,
    random: bool,
    forward: bool,
    instance: String,
    engine: Engine,
    earlier: Vec<IpNet>,
}

impl Firewall {
    /// As the settings say. `earlier`: networks that this node was in before, whose rules are to go.
    pub fn new(settings: &RunSettings, earlier: Vec<IpNet>) -> Firewall {
        Firewall {
            masquerade: settings.ip_masq,
            clamp_mss: settings.clamp_mss,
            random: !settings.ip_masq_fully_random_disable,
            forward: settings.forward_rules == ForwardRules::Manage,
            instance: settings.instance.instance.clone(),
            engine: match settings.firewall {
                FirewallEngine::Nft => Engine::Nft,
                FirewallEngine::Iptables => Engine::Iptables,
            },
            earlier,
        }
    }

    /// The rules for a network and the own subnets in it. The network is remembered: when it changes, its rules are to go.
    pub fn rules(&mut self, networks: Prefixes, subnets: Prefixes) -> Ruleset {
        let known = |network: &IpNet| self.earlier.contains(network);
        let new: Vec<IpNet> = networks.iter().filter(|network| !known(network)).collect();
        self.earlier.extend(new);
        let Firewall { masquerade, clamp_mss, random, forward, engine, .. } = *self;
        let (instance, earlier) = (self.instance.as_str(), self.earlier.as_slice());
        rules(&FirewallInput { networks, subnets, masquerade, forward, clamp_mss, random, instance, engine, earlier })
    }
}

/// No rules of this instance at all, where it was in these networks.
pub fn none(instance: &str, networks: Vec<IpNet>) -> Ruleset {
    Ruleset { table: table_name(instance), claims: networks, ..Ruleset::default() }
}
