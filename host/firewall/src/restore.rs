//! Our rules in iptables' tables: what is there, compared with what is wanted, and the text for `iptables-restore --noflush` that makes the
//! difference, one commit a table. Chains that are as wanted are not mentioned in it, and a jump that stands well does not move.

use std::fmt::Write;

use twill_model::firewall::{Action, Chain, Entrance, Family, Hook, Match, Rule, Ruleset, Table};

use crate::names::{anothers, builtin, chain_name, flannels_chain};
use crate::place::{Line as Stands, belongs_before, stands_well};
use crate::saved::{Line, Saved};

/// Docker's chain for the operator's rules, in `filter`.
const DOCKERS: &str = "DOCKER-USER";

/// What there is in the tables of one family, and what makes it so as wanted.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    /// Our rules, if there are any.
    pub there: Option<Table>,
    pub entrances: Vec<Entrance>,
    pub left_over: Vec<String>,
    /// For iptables-restore; empty when there is nothing to do.
    pub script: String,
}

/// Compares. `table`: what is wanted here, if anything. `program` names the tables to people. `random`: this iptables knows `--random-fully`.
pub(crate) fn difference(
    saved: &Saved,
    family: Family,
    table: Option<&Table>,
    ruleset: &Ruleset,
    program: &str,
    random: bool,
) -> Difference {
    let mut found = Difference::default();
    let mut chains = Vec::new();
    for hook in [Hook::Forward, Hook::Postrouting] {
        let wanted = table.and_then(|table| table.chains.iter().find(|chain| chain.hook == hook)).map(|chain| &chain.rules[..]);
        let mut text = Text::default();
        let name = chain_name(&ruleset.table, hook);
        let one = OneChain { saved, hook, ruleset, program, shared: name == flannels_chain(hook), name, random };
        match wanted {
            Some(wanted) => chains.extend(one.keep(wanted, &mut found, &mut text)),
            None => one.take_away(&mut found, &mut text),
        }
        if !one.shared {
            OneChain { name: flannels_chain(hook).to_owned(), shared: true, ..one }.take_away(&mut found, &mut text);
        }
        text.end(builtin(hook).0, &mut found.script);
    }
    found.there = (!chains.is_empty()).then_some(Table { family, chains });
    found
}

/// One chain of ours and what leads to it.
struct OneChain<'a> {
    saved: &'a Saved,
    hook: Hook,
    ruleset: &'a Ruleset,
    program: &'a str,
    name: String,
    /// Others may have rules in a chain of this name.
    shared: bool,
    random: bool,
}

/// The lines for one table: chains first.
#[derive(Default)]
struct Text {
    chains: String,
    rules: String,
}

impl OneChain<'_> {
    fn keep(&self, wanted: &[Rule], found: &mut Difference, text: &mut Text) -> Option<Chain> {
        let (table, builtin) = builtin(self.hook);
        let (mine, theirs) = self.lines();
        let there: Vec<Rule> = mine.iter().map(|line| self.known(line.rule(), wanted)).collect();
        if there != wanted || !self.saved.has_chain(table, &self.name) {
            let ours = wanted.iter().map(|rule| self.words(rule));
            self.rewrite(ours.chain(theirs.iter().map(|line| line.text.clone())), text);
        }
        let docker = self.hook == Hook::Forward && self.docker();
        let froms: Vec<&str> = std::iter::once(builtin).chain(docker.then_some(DOCKERS)).collect();
        for from in &froms {
            let in_place = self.enter(from, comment(self.hook), text);
            found.entrances.push(Entrance { what: format!("jump from {from} to {} of {}", self.name, self.program), in_place });
        }
        // What else leads here was never ours to begin with, or is from before Docker went.
        for line in self.entrances().filter(|line| line.chain == DOCKERS && !docker) {
            delete(line, &mut text.rules);
        }
        (!there.is_empty()).then_some(Chain { hook: self.hook, rules: there })
    }

    fn take_away(&self, found: &mut Difference, text: &mut Text) {
        let table = builtin(self.hook).0;
        if !self.saved.has_chain(table, &self.name) {
            return;
        }
        let (mine, theirs) = self.lines();
        if theirs.is_empty() && !(self.shared && self.ruleset.claims.is_empty()) {
            found.left_over.push(format!("chain {} of {}", self.name, self.program));
            self.entrances().for_each(|line| delete(line, &mut text.rules));
            let _ = writeln!(text.rules, "-F {0}\n-X {0}", self.name);
        } else if mine.iter().any(|line| !line.prefixes().is_empty()) {
            found.left_over.push(format!("rules for our network in chain {} of {}", self.name, self.program));
            // What names no network serves the others too.
            let common = mine.into_iter().filter(|line| line.prefixes().is_empty());
            self.rewrite(common.chain(theirs).map(|line| line.text.clone()), text);
        }
    }

    /// The chain's lines: those of ours, and those about networks that are not ours.
    fn lines(&self) -> (Vec<&Line>, Vec<&Line>) {
        let ours = |line: &&Line| !(self.shared && anothers(&line.prefixes(), &self.ruleset.claims));
        self.saved.of_chain(builtin(self.hook).0, &self.name).partition(ours)
    }

    /// Declared anew, the chain is emptied.
    fn rewrite(&self, rules: impl Iterator<Item = String>, text: &mut Text) {
        let _ = writeln!(text.chains, ":{} - [0:0]", self.name);
        for rule in rules {
            let _ = writeln!(text.rules, "-A {} {rule}", self.name);
        }
    }

    /// Sees to the jump from a chain of others; true when it stood well.
    fn enter(&self, from: &str, comment: &str, text: &mut Text) -> bool {
        let lines: Vec<&Line> = self.saved.of_chain(builtin(self.hook).0, from).collect();
        let kinds: Vec<Stands> = lines.iter().map(|line| self.stands(line)).collect();
        if stands_well(&kinds) {
            return true;
        }
        lines.iter().filter(|line| line.leads_to(&self.name)).for_each(|line| delete(line, &mut text.rules));
        let place = match belongs_before(&kinds) {
            // iptables counts from one.
            Some(at) => format!("-I {from} {}", at + 1),
            None => format!("-A {from}"),
        };
        let _ = writeln!(text.rules, "{place} -m comment --comment \"{comment}\" -j {}", self.name);
        false
    }

    fn stands(&self, line: &Line) -> Stands {
        match line {
            line if line.leads_to(&self.name) => Stands::Entrance,
            line if line.ends_chain() => Stands::End,
            _ => Stands::Other,
        }
    }

    fn docker(&self) -> bool {
        let (table, builtin) = builtin(self.hook);
        self.saved.has_chain(table, DOCKERS) && self.saved.of_chain(table, builtin).any(|line| line.always_leads_to(DOCKERS))
    }

    fn entrances(&self) -> impl Iterator<Item = &Line> {
        self.saved.lines(builtin(self.hook).0).filter(|line| line.leads_to(&self.name))
    }

    /// An iptables without `--random-fully` cannot be told it, and is not found wanting.
    fn known(&self, rule: Rule, wanted: &[Rule]) -> Rule {
        let random = wanted.iter().any(|rule| rule.then == Action::Masquerade { random: true });
        match rule.then {
            Action::Masquerade { random: false } if random && !self.random => Rule { then: Action::Masquerade { random }, ..rule },
            _ => rule,
        }
    }

    fn words(&self, rule: &Rule) -> String {
        let mut words: Vec<String> = rule.when.iter().map(condition).collect();
        words.push(format!("-m comment --comment \"{}\"", rule.comment));
        words.push(target(&rule.then, self.random));
        words.join(" ")
    }
}

impl Text {
    /// Ends the table; nothing is written for one that needs nothing.
    fn end(self, table: &str, script: &mut String) {
        if !self.chains.is_empty() || !self.rules.is_empty() {
            let _ = write!(script, "*{table}\n{}{}COMMIT\n", self.chains, self.rules);
        }
    }
}

// Writing to a String cannot fail.
fn delete(line: &Line, rules: &mut String) {
    let _ = writeln!(rules, "-D {} {}", line.chain, line.text);
}

/// flannel's comments, by which people and scripts find its rules.
pub(crate) fn comment(hook: Hook) -> &'static str {
    match hook {
        Hook::Forward => "flanneld forward",
        Hook::Postrouting => "flanneld masq",
    }
}

fn condition(condition: &Match) -> String {
    match condition {
        Match::Mark(bit) => format!("-m mark --mark {bit:#x}/{bit:#x}"),
        Match::From(net) => format!("-s {net}"),
        Match::NotFrom(net) => format!("! -s {net}"),
        Match::To(net) => format!("-d {net}"),
        Match::NotTo(net) => format!("! -d {net}"),
        Match::Syn => "-p tcp -m tcp --tcp-flags SYN SYN".into(),
    }
}

fn target(action: &Action, random: bool) -> String {
    match action {
        Action::Accept => "-j ACCEPT".into(),
        Action::Return => "-j RETURN".into(),
        Action::Masquerade { random: true } if random => "-j MASQUERADE --random-fully".into(),
        Action::Masquerade { .. } => "-j MASQUERADE".into(),
        Action::Snat { to, .. } => format!("-j SNAT --to-source {to}"),
        // Never written: rules() makes none.
        Action::ClampMss => "-j TCPMSS --clamp-mss-to-pmtu".into(),
        Action::Foreign => "-j RETURN".into(),
    }
}

#[cfg(test)]
#[path = "restore_tests.rs"]
mod tests;
