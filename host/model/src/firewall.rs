//! Packet filter rules as data: what the firewall room works out, the reconciler compares and the kernel room writes.
//!
//! Only what twill's own rules say can be said here. A rule that was read and says anything else is [`Action::Foreign`], which equals no rule of ours.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// All rules of one instance: its own tables, at most one a family. Without tables there shall be none.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ruleset {
    /// What holds them; the other one shall have none of ours.
    pub engine: Engine,
    /// Name of the tables, the same in each family. Nobody else's tables have it. iptables' chains are named after it.
    pub table: String,
    /// The tables, IPv4 first.
    pub tables: Vec<Table>,
    /// The networks, present and earlier ones, whose rules under flannel's names are ours to take away.
    pub claims: Vec<IpNet>,
}

/// What holds the rules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Engine {
    /// Tables of our own in nftables.
    #[default]
    Nft,
    /// Chains of our own in iptables' tables `filter` and `nat`.
    Iptables,
}

/// One table with all that is in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table {
    /// Whose packets it sees.
    pub family: Family,
    /// Its chains, in the order of their hooks' names.
    pub chains: Vec<Chain>,
}

/// The family of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
}

/// Where a chain stands in a packet's path; its name too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Packets between interfaces: type filter, priority 0.
    Forward,
    /// Packets on their way out: type nat, priority 100 (srcnat).
    Postrouting,
}

/// A chain at a hook. What no rule decides passes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Chain {
    /// Its hook.
    pub hook: Hook,
    /// Its rules, the first that matches decides.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// All must hold.
    pub when: Vec<Match>,
    /// What happens then.
    pub then: Action,
    /// Why, for people.
    pub comment: String,
}

/// A condition on a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Match {
    /// Its mark has this bit, whatever the others are.
    Mark(u32),
    /// Its source lies in the prefix.
    From(IpNet),
    /// Its source lies outside of the prefix.
    NotFrom(IpNet),
    /// Its destination lies in the prefix.
    To(IpNet),
    /// Its destination lies outside of the prefix.
    NotTo(IpNet),
    /// It opens a TCP connection, or answers to that: SYN is set.
    Syn,
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// It passes this chain; chains of other tables may still drop it.
    Accept,
    /// It leaves this chain as it is.
    Return,
    /// It gets the address of the interface that it leaves by.
    Masquerade {
        /// The kernel chooses the new port at random, which avoids clashes between connections that begin at the same time.
        random: bool,
    },
    /// It gets this source. Unlike masquerade, the connection survives that its route moves to another interface.
    Snat {
        /// The new source.
        to: IpAddr,
        /// As with masquerade.
        random: bool,
    },
    /// The largest segment that its TCP option allows is made no longer than its route carries; it goes on to the next rule.
    ClampMss,
    /// Something that twill never writes.
    Foreign,
}

impl Family {
    /// The kernel's and nft's word.
    pub fn word(self) -> &'static str {
        match self {
            Family::Ip => "ip",
            Family::Ip6 => "ip6",
        }
    }

    /// The family of that word.
    pub fn read(word: &str) -> Option<Family> {
        [Family::Ip, Family::Ip6].into_iter().find(|family| family.word() == word)
    }
}

impl Hook {
    /// The hook's name, which is the chain's name too.
    pub fn word(self) -> &'static str {
        match self {
            Hook::Forward => "forward",
            Hook::Postrouting => "postrouting",
        }
    }
}

impl Ruleset {
    /// No rules, where there were those of `self`.
    pub fn emptied(&self) -> Ruleset {
        Ruleset { tables: Vec::new(), ..self.clone() }
    }

    /// Where the rules of a family are: "ip twill", or "ip6tables".
    pub fn place(&self, family: Family) -> String {
        match (self.engine, family) {
            (Engine::Nft, family) => format!("{} {}", family.word(), self.table),
            (Engine::Iptables, Family::Ip) => "iptables".into(),
            (Engine::Iptables, Family::Ip6) => "ip6tables".into(),
        }
    }
}

impl fmt::Display for Ruleset {
    /// "tables ip twill, ip6 twill", or "rules of iptables, ip6tables".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.tables.iter().map(|table| self.place(table.family)).collect();
        match (self.engine, &names[..]) {
            (Engine::Nft, []) => write!(f, "no table {}", self.table),
            (Engine::Nft, [one]) => write!(f, "table {one}"),
            (Engine::Nft, more) => write!(f, "tables {}", more.join(", ")),
            (Engine::Iptables, []) => f.write_str("no rules of iptables"),
            (Engine::Iptables, names) => write!(f, "rules of {}", names.join(", ")),
        }
    }
}

/// What the packet filter has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    /// The rules of ours.
    pub ours: Ruleset,
    /// Where chains of others shall lead into chains of ours.
    pub entrances: Vec<Entrance>,
    /// What shall go: rules of a stopped flanneld for our network, and of ours where they are no longer wanted; in words each.
    pub left_over: Vec<String>,
    /// What of others stands in the way of packets that our rules accept, one sentence each.
    pub obstacles: Vec<String>,
}

impl Filter {
    /// True when there is nothing to do for these rules.
    pub fn is(&self, wanted: &Ruleset) -> bool {
        self.ours == *wanted && self.left_over.is_empty() && self.entrances.iter().all(|entrance| entrance.in_place)
    }
}

/// A rule in a chain of somebody else that leads into one of ours.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entrance {
    /// Such as "jump from chain DOCKER-USER of table ip filter to TWILL-FWD".
    pub what: String,
    /// It is there, once, and what it leads to is as planned.
    pub in_place: bool,
}
