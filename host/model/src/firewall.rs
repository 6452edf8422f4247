//! Packet filter rules as data: what the firewall room works out, the reconciler compares and the kernel room writes.
//!
//! Only what twill's own rules say can be said here. A rule that was read and says anything else is [`Action::Foreign`], which equals no rule of ours.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// All rules of one instance: its own tables, at most one a family. Without tables there shall be none.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ruleset {
    /// Name of the tables, the same in each family. Nobody else's tables have it.
    pub table: String,
    /// The tables, IPv4 first.
    pub tables: Vec<Table>,
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

impl fmt::Display for Ruleset {
    /// "tables ip twill, ip6 twill".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.tables.iter().map(|table| format!("{} {}", table.family.word(), self.table)).collect();
        match &names[..] {
            [] => write!(f, "no table {}", self.table),
            [one] => write!(f, "table {one}"),
            more => write!(f, "tables {}", more.join(", ")),
        }
    }
}

/// What the packet filter has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    /// The rules of ours.
    pub ours: Ruleset,
    /// What of others stands in the way of packets that our rules accept, one sentence each.
    pub obstacles: Vec<String>,
}
