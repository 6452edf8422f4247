//! What `iptables-save` prints: tables, chains with their policies, and rules in the words that `iptables-restore` takes again.

use std::collections::BTreeMap;

use ipnet::IpNet;
use twill_model::firewall::{Action, Match, Rule};

/// All tables of one family.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    tables: BTreeMap<String, SavedTable>,
}

/// One table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct SavedTable {
    /// Policy by chain; "-" for chains that are not iptables' own.
    policies: BTreeMap<String, String>,
    lines: Vec<Line>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its chain.
    pub chain: String,
    /// What comes behind "-A CHAIN".
    pub text: String,
}

/// Text that iptables-save should not have printed.
#[derive(Debug, thiserror::Error)]
#[error("iptables-save printed what cannot be understood: {0}")]
pub struct Unsaved(String);

impl Saved {
    /// Reads it.
    ///
    /// # Errors
    /// A line that is none of iptables-save's; a table that iptables cannot read because nft wrote to it.
    pub fn read(text: &str) -> Result<Saved, Unsaved> {
        let mut saved = Saved::default();
        let mut table = String::new();
        for line in text.lines().map(str::trim) {
            let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
            match first.split_at_checked(1) {
                Some(("*", name)) => {
                    name.clone_into(&mut table);
                    saved.tables.entry(table.clone()).or_default();
                }
                Some((":", chain)) => {
                    let policy = rest.split(' ').next().unwrap_or_default().to_owned();
                    saved.tables.entry(table.clone()).or_default().policies.insert(chain.to_owned(), policy);
                }
                Some(("#", _)) if line.contains("is incompatible") => return Err(Unsaved(line.trim_start_matches("# ").to_owned())),
                None | Some(("#", _)) => {}
                _ if first == "COMMIT" => {}
                _ if first == "-A" => {
                    let (chain, text) = rest.split_once(' ').unwrap_or((rest, ""));
                    let line = Line { chain: chain.to_owned(), text: text.to_owned() };
                    saved.tables.entry(table.clone()).or_default().lines.push(line);
                }
                _ => return Err(Unsaved(line.to_owned())),
            }
        }
        Ok(saved)
    }

    pub(crate) fn has_chain(&self, table: &str, chain: &str) -> bool {
        self.tables.get(table).is_some_and(|table| table.policies.contains_key(chain))
    }

    /// The rules of a chain in their order.
    pub(crate) fn of_chain(&self, table: &str, chain: &str) -> impl Iterator<Item = &Line> {
        self.lines(table).filter(move |line| line.chain == chain)
    }

    /// All rules of a table, in order within each chain.
    pub(crate) fn lines(&self, table: &str) -> impl Iterator<Item = &Line> {
        self.tables.get(table).into_iter().flat_map(|table| &table.lines)
    }

    /// True when the table `filter` drops forwarded packets and accepts those of the network in neither direction, or in one alone.
    pub(crate) fn keeps_out(&self, network: IpNet) -> bool {
        let dropped = self.tables.get("filter").and_then(|table| table.policies.get("FORWARD")).is_some_and(|policy| policy == "DROP")
            || self.of_chain("filter", "FORWARD").any(|line| line.drops_all());
        let accepts = |wide: &dyn Fn(&Match) -> bool| {
            self.lines("filter").map(Line::rule).any(|rule| rule.then == Action::Accept && matches!(&rule.when[..], [one] if wide(one)))
        };
        let from = accepts(&|one| matches!(one, Match::From(net) if net.contains(&network)));
        dropped && !(from && accepts(&|one| matches!(one, Match::To(net) if net.contains(&network))))
    }
}

impl Line {
    /// As a rule of ours; [`Action::Foreign`] when it says more or else.
    pub(crate) fn rule(&self) -> Rule {
        let words = words(&self.text);
        let mut rule = Rule { when: Vec::new(), then: Action::Foreign, comment: String::new() };
        let mut rest = words.iter().map(String::as_str);
        while let Some(word) = rest.next() {
            let (not, flag) = if word == "!" { (true, rest.next().unwrap_or_default()) } else { (false, word) };
            let read = match (flag, rest.next()) {
                ("-s", Some(net)) => net.parse().ok().map(|net| rule.when.push(if not { Match::NotFrom(net) } else { Match::From(net) })),
                ("-d", Some(net)) => net.parse().ok().map(|net| rule.when.push(if not { Match::NotTo(net) } else { Match::To(net) })),
                ("-m", Some("mark" | "comment")) => Some(()),
                ("--mark", Some(mark)) => bit(mark).filter(|_| !not).map(|bit| rule.when.push(Match::Mark(bit))),
                ("--comment", Some(text)) => {
                    text.clone_into(&mut rule.comment);
                    Some(())
                }
                ("-j", Some(target)) => {
                    let rest: Vec<&str> = rest.by_ref().collect();
                    action(target, &rest).map(|then| rule.then = then)
                }
                _ => None,
            };
            if read.is_none() {
                return Rule { when: Vec::new(), then: Action::Foreign, comment: rule.comment };
            }
        }
        rule
    }

    /// The prefixes that it names as source or destination.
    pub(crate) fn prefixes(&self) -> Vec<IpNet> {
        let words = words(&self.text);
        let pairs = words.windows(2).filter(|pair| pair[0] == "-s" || pair[0] == "-d");
        pairs.filter_map(|pair| pair[1].parse().ok()).collect()
    }

    /// True when it leads into the chain of that name, whatever its conditions.
    pub(crate) fn leads_to(&self, chain: &str) -> bool {
        words(&self.text).windows(2).any(|pair| (pair[0] == "-j" || pair[0] == "-g") && pair[1] == chain)
    }

    /// True when it leads there without conditions.
    pub(crate) fn always_leads_to(&self, chain: &str) -> bool {
        self.leads_to(chain) && self.is_unconditional()
    }

    /// True when nothing behind it is reached.
    pub(crate) fn ends_chain(&self) -> bool {
        self.is_unconditional() && ["ACCEPT", "RETURN", "DROP", "REJECT"].iter().any(|target| self.leads_to(target))
    }

    /// True when it drops everything.
    pub(crate) fn drops_all(&self) -> bool {
        self.is_unconditional() && ["DROP", "REJECT"].iter().any(|target| self.leads_to(target))
    }

    /// True when only a comment stands before its target.
    fn is_unconditional(&self) -> bool {
        let words = words(&self.text);
        let before: Vec<&str> = words.iter().map(String::as_str).take_while(|word| *word != "-j" && *word != "-g").collect();
        matches!(before[..], [] | ["-m", "comment", "--comment", _])
    }
}

/// The one bit of "0x4000/0x4000".
fn bit(mark: &str) -> Option<u32> {
    let (value, mask) = mark.split_once('/')?;
    let hex = |text: &str| u32::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    hex(value).filter(|value| hex(mask) == Some(*value))
}

fn action(target: &str, rest: &[&str]) -> Option<Action> {
    match (target, rest) {
        ("ACCEPT", []) => Some(Action::Accept),
        ("RETURN", []) => Some(Action::Return),
        ("MASQUERADE", []) => Some(Action::Masquerade { random: false }),
        ("MASQUERADE", ["--random-fully"]) => Some(Action::Masquerade { random: true }),
        _ => None,
    }
}

/// The words of a line; `"…"` is one word, in which a backslash stands before what would end it.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let (mut quoted, mut letters) = (false, text.chars());
    while let Some(letter) = letters.next() {
        match letter {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => word.get_or_insert_default().extend(letters.next()),
            ' ' if !quoted => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVED: &str = r#"# Generated by iptables-save v1.8.9 (nf_tables) on Sat Nov 28 07:35:23 2026
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [7:9]
:X - [0:0]
-A FORWARD -m comment --comment "say \"no\"" -j X
-A X -i lo -p tcp -m tcp --dport 80 -j DROP
-A X -j REJECT --reject-with icmp-port-unreachable
COMMIT
# Completed on Sat Nov 28 07:35:23 2026
"#;

    fn line(text: &str) -> Line {
        Line { chain: "X".into(), text: text.into() }
    }

    #[test]
    fn tables_chains_and_rules_are_read() {
        let saved = Saved::read(SAVED).expect("iptables-save's text");
        assert!(saved.has_chain("filter", "X") && !saved.has_chain("nat", "X") && !saved.has_chain("filter", "Y"));
        let lines: Vec<&Line> = saved.of_chain("filter", "X").collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[1].drops_all() && !lines[0].drops_all());
        assert!(saved.of_chain("filter", "FORWARD").all(|line| line.always_leads_to("X")));
        assert_eq!(words(&saved.lines("filter").next().expect("a rule").text)[3], "say \"no\"");
        assert!(saved.keeps_out("10.1.0.0/16".parse().expect("a prefix")));
    }

    #[test]
    fn what_is_not_iptables_saves_is_said() {
        for bad in ["no such table", "*nat\n-I X -j ACCEPT", "# Table `nat' is incompatible, use 'nft' tool."] {
            assert!(Saved::read(bad).is_err(), "{bad}");
        }
        assert_eq!(Saved::read("").expect("nothing"), Saved::default());
        assert_eq!(Saved::read("# Warning: iptables-legacy tables present\n").expect("nothing"), Saved::default());
    }

    #[test]
    fn only_what_ours_say_is_understood() {
        let net = |text: &str| text.parse::<IpNet>().expect("a prefix");
        let rule = line("! -s 10.1.0.0/16 -d 10.1.7.0/24 -m comment --comment \"flanneld masq\" -j RETURN").rule();
        assert_eq!(rule.when, [Match::NotFrom(net("10.1.0.0/16")), Match::To(net("10.1.7.0/24"))]);
        assert_eq!((rule.then, rule.comment.as_str()), (Action::Return, "flanneld masq"));
        assert_eq!(line("-m mark --mark 0x4000/0x4000 -j RETURN").rule().when, [Match::Mark(0x4000)]);
        for foreign in [
            "-p tcp -j ACCEPT",
            "-m mark ! --mark 0x4000/0x4000 -j RETURN",
            "-m mark --mark 0x4000/0xffff -j RETURN",
            "-s 10.1.0.0/16 -j MASQUERADE --to-ports 1-9",
            "-s 10.1.0.0/16 -j SNAT --to-source 1.2.3.4",
            "-s 10.1.0.0/16",
            "-j",
        ] {
            assert_eq!(line(foreign).rule().then, Action::Foreign, "{foreign}");
        }
    }

    #[test]
    fn what_accepts_the_network_both_ways_keeps_nobody_out() {
        let accepts = "-A X -s 10.0.0.0/8 -j ACCEPT\n-A X -d 10.0.0.0/8 -j ACCEPT\nCOMMIT";
        let saved = Saved::read(&SAVED.replace("COMMIT", accepts)).expect("iptables-save's text");
        assert!(!saved.keeps_out("10.1.0.0/16".parse().expect("a prefix")));
        assert!(saved.keeps_out("11.1.0.0/16".parse().expect("a prefix")));
    }
}
