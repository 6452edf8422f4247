//! `twill plan`: what a start of the daemon would change on this node, in the kernel, in the store and on disk, without changing it.

use clap::Args;
use twill_model::plan::{Act, Plan as Planned, PlannedChange};

use super::client::get;
use super::config::read_text;
use super::wait_for;
use crate::exit::Exit;
use crate::node::rehearse;
use crate::settings::RunSettings;

/// Show what `twill run` with these settings would change on this host and in the store, without changing anything.
///
/// It reads the kernel's state and the store, and runs the daemon's own code on copies of them. It works before the first start, and beside a running daemon: then it shows
/// what a changed config, or other settings, would change. Each change is lossless or interrupts traffic, which is said.
#[derive(Debug, Args)]
#[command(after_help = "\
Lines begin with + (is added), ~ (is changed) or - (is taken away).

Examples:
  twill plan --store file --store-dir /srv/twill
  twill plan --store file --store-dir /srv/twill '{\"Network\": \"10.244.0.0/16\", \"Backend\": {\"Type\": \"vxlan\"}}'
  twill plan --store etcd --json @net-conf.json")]
pub struct Plan {
    /// A network config to plan with, in the place of the one in the store: JSON text, @FILE, or - for standard input.
    network_config: Option<String>,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
    /// Settings file (TOML); without it /etc/twill/twill.toml, if that is there.
    #[arg(long, env = "TWILL_CONFIG", value_name = "FILE")]
    config: Option<std::path::PathBuf>,
    #[command(flatten)]
    settings: RunSettings,
}

impl Plan {
    /// Plans and prints.
    pub fn main(self) -> Result<(), Exit> {
        self.settings.check().map_err(Exit::usage)?;
        let config = self.network_config.map(read_text).transpose()?;
        let (settings, json) = (self.settings, self.json);
        let plan = wait_for(async move {
            let running = get(&settings.instance, "/api/v1/state").await.ok();
            rehearse::rehearse(settings, config, running).await
        })?;
        if json {
            let text = serde_json::to_string_pretty(&plan).map_err(Exit::failed)?;
            println!("{text}");
        } else {
            print!("{}", text(&plan));
        }
        Ok(())
    }
}

/// The plan for people.
fn text(plan: &Planned) -> String {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
    let mut lines = vec![
        format!("node     {} at {}, by {}", plan.node.as_deref().unwrap_or("(new)"), plan.public, plan.underlay),
        format!("network  {}, backend {}", plan.networks.join(", "), or_none(plan.backend.clone())),
        format!(
            "subnet   {}, pod MTU {}",
            or_none(plan.subnets.map(|subnets| subnets.to_string())),
            or_none(plan.pod_mtu.map(|mtu| mtu.to_string()))
        ),
        String::new(),
    ];
    for (title, kinds) in GROUPS {
        let of_group: Vec<&PlannedChange> = plan.changes.iter().filter(|change| kinds.contains(&change.kind.as_str())).collect();
        if !of_group.is_empty() {
            lines.push((*title).to_owned());
            lines.extend(of_group.into_iter().map(line));
        }
    }
    lines.push(summary(&plan.changes));
    lines.extend(plan.notes.iter().map(|note| format!("note: {note}")));
    lines.extend(plan.problems.iter().map(|problem| format!("problem: {problem}")));
    lines.join("\n") + "\n"
}

/// What stands under which title.
const GROUPS: &[(&str, &[&str])] = &[
    ("in the store", &["lease"]),
    ("in the kernel", &["link", "address", "sysctl", "neighbour", "fdb", "route"]),
    ("in the fast path", &["endpoint", "sender"]),
    ("in the packet filter", &["rule"]),
    ("on disk", &["file"]),
];

fn line(change: &PlannedChange) -> String {
    let sign = match change.act {
        Act::Add => '+',
        Act::Change => '~',
        Act::Remove => '-',
    };
    let value = match (&change.before, &change.after) {
        (before, after) if change.kind == "file" => file_lines(before.as_deref().unwrap_or_default(), after.as_deref().unwrap_or_default()),
        (Some(before), Some(after)) => format!(": {before} -> {after}"),
        (Some(one), None) | (None, Some(one)) => format!(": {one}"),
        (None, None) => String::new(),
    };
    let disruption = change.disruption.as_ref().map_or_else(String::new, |why| format!("  (INTERRUPTS TRAFFIC: {why})"));
    format!("  {sign} {} {}{value}{disruption}", change.kind, change.what)
}

/// The lines of a small file that differ.
fn file_lines(before: &str, after: &str) -> String {
    let gone = before.lines().filter(|line| !after.lines().any(|other| other == *line)).map(|line| format!("\n      - {line}"));
    let new = after.lines().filter(|line| !before.lines().any(|other| other == *line)).map(|line| format!("\n      + {line}"));
    gone.chain(new).collect()
}

fn summary(changes: &[PlannedChange]) -> String {
    let disruptive = changes.iter().filter(|change| change.disruption.is_some()).count();
    match (changes.len(), disruptive) {
        (0, _) => "nothing would change".to_owned(),
        (all, 0) => format!("{} in all; none interrupts traffic", counted(all)),
        (all, some) => format!(
            "{} in all; {some} of them interrupt traffic, and wait on a running daemon for consent (see --allow-disruption)",
            counted(all)
        ),
    }
}

fn counted(changes: usize) -> String {
    if changes == 1 { "1 change".to_owned() } else { format!("{changes} changes") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twill_model::Prefixes;

    fn change(kind: &str, what: &str, before: Option<&str>, after: Option<&str>) -> PlannedChange {
        PlannedChange::between(kind, what.into(), before.map(str::to_owned), after.map(str::to_owned)).expect("a change")
    }

    #[test]
    fn a_plan_reads_as_a_diff() {
        let link = PlannedChange {
            disruption: Some("it is made anew: its port 8472 becomes 4790".into()),
            ..change("link", "flannel.1", Some("dstport 8472"), Some("dstport 4790"))
        };
        let plan = Planned {
            node: None,
            underlay: "eth0".into(),
            public: twill_model::Addresses { v4: Some([192, 0, 2, 1].into()), v6: None },
            networks: vec!["10.50.0.0/16".into()],
            backend: Some("vxlan".into()),
            subnets: Some(Prefixes { v4: "10.50.3.0/24".parse().ok(), v6: None }),
            pod_mtu: Some(1450),
            changes: vec![
                change("lease", "10.50.3.0/24", None, Some("of this node")),
                link,
                change("sysctl", "net/ipv4/ip_forward", Some("0"), Some("1")),
                change("route", "10.50.9.0/24", Some("dev flannel.1"), None),
                change("file", "/run/flannel/subnet.env", Some("A=1\nB=2\n"), Some("A=1\nB=3\n")),
            ],
            notes: vec!["a note".into()],
            problems: vec![],
        };
        let wanted = "\
node     (new) at 192.0.2.1, by eth0
network  10.50.0.0/16, backend vxlan
subnet   10.50.3.0/24, pod MTU 1450

in the store
  + lease 10.50.3.0/24: of this node
in the kernel
  ~ link flannel.1: dstport 8472 -> dstport 4790  (INTERRUPTS TRAFFIC: it is made anew: its port 8472 becomes 4790)
  ~ sysctl net/ipv4/ip_forward: 0 -> 1
  - route 10.50.9.0/24: dev flannel.1
on disk
  ~ file /run/flannel/subnet.env
      - B=2
      + B=3
5 changes in all; 1 of them interrupt traffic, and wait on a running daemon for consent (see --allow-disruption)
note: a note
";
        assert_eq!(text(&plan), wanted);
        assert!(text(&Planned { changes: vec![], ..plan }).contains("nothing would change"));
    }
}
