//! A ruleset as text for `nft -f -`: one transaction that replaces all own tables, whatever was in them, and touches no other.

use std::fmt::Write;

use twill_model::firewall::{Action, Chain, Family, Hook, Match, Rule, Ruleset, Table};

/// The script for the engine nft. A family without a table loses the one that it had.
pub fn script(ruleset: &Ruleset) -> String {
    let mut text = String::new();
    for family in [Family::Ip, Family::Ip6] {
        let name = format!("{} {}", family.word(), ruleset.table);
        // To delete what may not be there, it is added first.
        let _ = writeln!(text, "add table {name}\ndelete table {name}");
        for table in ruleset.tables.iter().filter(|table| table.family == family) {
            write_table(&mut text, &name, table);
        }
    }
    text
}

/// The rules one by one: table, chain, and the rule's number in it, as "ip twill forward 1", and the rule as nft says it.
pub fn lines(ruleset: &Ruleset) -> Vec<(String, String)> {
    let of_chain = |table: &Table, chain: &Chain| -> Vec<(String, String)> {
        let place = |number: usize| format!("{} {} {} {number}", table.family.word(), ruleset.table, chain.hook.word());
        chain.rules.iter().zip(1..).map(|(rule, number)| (place(number), rule_words(table.family, rule))).collect()
    };
    ruleset.tables.iter().flat_map(|table| table.chains.iter().flat_map(move |chain| of_chain(table, chain))).collect()
}

// Writing to a String cannot fail.
fn write_table(text: &mut String, name: &str, table: &Table) {
    let _ = writeln!(text, "table {name} {{");
    for chain in &table.chains {
        write_chain(text, table.family, chain);
    }
    let _ = writeln!(text, "}}");
}

fn write_chain(text: &mut String, family: Family, chain: &Chain) {
    let place = match chain.hook {
        Hook::Forward => "type filter hook forward priority 0; policy accept;",
        Hook::Postrouting => "type nat hook postrouting priority 100; policy accept;",
    };
    let _ = writeln!(text, "\tchain {} {{\n\t\t{place}", chain.hook.word());
    for rule in &chain.rules {
        let _ = writeln!(text, "\t\t{}", rule_words(family, rule));
    }
    let _ = writeln!(text, "\t}}");
}

/// A rule in nft's words.
pub(crate) fn rule_words(family: Family, rule: &Rule) -> String {
    let ip = family.word();
    let mut words: Vec<String> = rule.when.iter().map(|condition| condition_words(ip, condition)).collect();
    words.push(action_words(&rule.then));
    words.push(format!("comment \"{}\"", rule.comment));
    words.join(" ")
}

fn condition_words(ip: &str, condition: &Match) -> String {
    match condition {
        Match::Mark(bit) => format!("meta mark & {bit:#x} == {bit:#x}"),
        Match::From(net) => format!("{ip} saddr {net}"),
        Match::NotFrom(net) => format!("{ip} saddr != {net}"),
        Match::To(net) => format!("{ip} daddr {net}"),
        Match::NotTo(net) => format!("{ip} daddr != {net}"),
        Match::Syn => "tcp flags syn".into(),
    }
}

fn action_words(action: &Action) -> String {
    let flags = |random: &bool| if *random { " fully-random" } else { "" };
    match action {
        Action::Accept => "accept".into(),
        Action::Return => "return".into(),
        Action::Masquerade { random } => format!("masquerade{}", flags(random)),
        Action::Snat { to, random } => format!("snat to {to}{}", flags(random)),
        Action::ClampMss => "tcp option maxseg size set rt mtu".into(),
        // Never written: rules() makes none. A packet that meets it goes on.
        Action::Foreign => "continue".into(),
    }
}
