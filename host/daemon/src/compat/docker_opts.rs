//! `docker_opts.env`: subnet.env in the words of Docker's daemon, as flannel's script mk-docker-opts.sh writes it. Pure.
//!
//! Like the script it passes on every variable `DOCKER_OPT_…` that it finds in its environment or in the file, and puts what the combined variable held
//! before in front of the options. IPv6 is left out, as there.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Variables by name.
pub type Variables = BTreeMap<String, String>;

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// A variable for each option.
    pub single: bool,
    /// Name of the variable with all options in one, when that is wanted.
    pub combined: Option<String>,
    /// Whether Docker shall masquerade is said too.
    pub masquerade: bool,
}

/// subnet.env says something impossible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("FLANNEL_IPMASQ is \"{0}\", which is neither true nor false")]
pub struct BadMasquerade(pub String);

/// Reads a file of `NAME=value` lines. Quotes around a value are taken off; comments and other lines are passed over.
pub fn variables(text: &str) -> Variables {
    text.lines().filter_map(variable).collect()
}

fn variable(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let (name, value) = line.split_once('=')?;
    is_name(name).then(|| (name.to_owned(), unquoted(value).to_owned()))
}

/// True for what a shell takes as the name of a variable.
pub fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

fn unquoted(value: &str) -> &str {
    let within = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    within('"').or_else(|| within('\'')).unwrap_or(value)
}

/// The text of docker_opts.env for what `variables` say.
///
/// # Errors
/// FLANNEL_IPMASQ is neither true nor false, and matters.
pub fn text(variables: &Variables, wanted: &Wanted) -> Result<String, BadMasquerade> {
    let options = options(variables, wanted.masquerade)?;
    let mut text = String::new();
    if wanted.single {
        for (name, option) in &options {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name}=\"{option}\"");
        }
    }
    if let Some(key) = &wanted.combined {
        let before = variables.get(key).filter(|before| !before.is_empty()).map(|before| format!("{before} "));
        let all: String = options.values().map(|option| format!(" {option}")).collect();
        let _ = writeln!(text, "{key}=\"{}{all}\"", before.unwrap_or_default());
    }
    Ok(text)
}

fn options(variables: &Variables, masquerade: bool) -> Result<Variables, BadMasquerade> {
    let there = variables.iter().filter(|(name, _)| name.starts_with("DOCKER_OPT_"));
    let mut options: Variables = there.map(|(name, value)| (name.clone(), one_blank_apart(value))).collect();
    let mut add = |name: &str, option: Option<String>| options.extend(option.map(|option| (name.to_owned(), option)));
    let set = |name: &str| variables.get(name).filter(|value| !value.is_empty());
    add("DOCKER_OPT_BIP", set("FLANNEL_SUBNET").map(|subnet| format!("--bip={subnet}")));
    add("DOCKER_OPT_MTU", set("FLANNEL_MTU").map(|mtu| format!("--mtu={mtu}")));
    if let Some(ours) = set("FLANNEL_IPMASQ").filter(|_| masquerade) {
        add("DOCKER_OPT_IPMASQ", Some(format!("--ip-masq={}", inverse(ours)?)));
    }
    Ok(options)
}

/// Docker masquerades exactly when we do not.
fn inverse(ours: &str) -> Result<bool, BadMasquerade> {
    match ours {
        "true" => Ok(false),
        "false" => Ok(true),
        other => Err(BadMasquerade(other.to_owned())),
    }
}

fn one_blank_apart(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The gateway by which the kernel reaches the own subnet, if it thinks that it lies elsewhere: Docker's bridge would never get its packets.
/// `table` is /proc/net/route (proc(5)).
pub fn elsewhere(table: &str, variables: &Variables) -> Option<(Ipv4Net, Ipv4Addr)> {
    let own: Ipv4Net = variables.get("FLANNEL_SUBNET")?.parse().ok()?;
    let own = own.trunc();
    table.lines().skip(1).filter_map(gateway).find(|(to, _)| *to == own)
}

/// Destination and gateway of a line that has one. The numbers are those of the machine's memory, read as one hexadecimal number.
fn gateway(line: &str) -> Option<(Ipv4Net, Ipv4Addr)> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let address = |column: usize| Some(Ipv4Addr::from(u32::from_str_radix(columns.get(column)?, 16).ok()?.to_ne_bytes()));
    let to = Ipv4Net::with_netmask(address(1)?, address(7)?).ok()?;
    Some((to, address(2)?)).filter(|(_, gateway)| !gateway.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBNET_ENV: &str = "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.74.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=false\n";

    fn both() -> Wanted {
        Wanted { single: true, combined: Some("DOCKER_OPTS".into()), masquerade: true }
    }

    #[test]
    fn the_outputs_are_the_scripts() {
        let single = "DOCKER_OPT_BIP=\"--bip=10.1.74.1/24\"\nDOCKER_OPT_IPMASQ=\"--ip-masq=true\"\nDOCKER_OPT_MTU=\"--mtu=1472\"\n";
        let all = "\" --bip=10.1.74.1/24 --ip-masq=true --mtu=1472\"\n";
        let table = [
            (both(), format!("{single}DOCKER_OPTS={all}")),
            (Wanted { combined: None, ..both() }, single.to_owned()),
            (Wanted { single: false, ..both() }, format!("DOCKER_OPTS={all}")),
            (Wanted { combined: Some("CUSTOM_KEY".into()), ..both() }, format!("{single}CUSTOM_KEY={all}")),
            (
                Wanted { masquerade: false, ..both() },
                "DOCKER_OPT_BIP=\"--bip=10.1.74.1/24\"\nDOCKER_OPT_MTU=\"--mtu=1472\"\nDOCKER_OPTS=\" --bip=10.1.74.1/24 --mtu=1472\"\n"
                    .into(),
            ),
        ];
        for (wanted, expected) in table {
            assert_eq!(text(&variables(SUBNET_ENV), &wanted).as_deref(), Ok(expected.as_str()), "{wanted:?}");
        }
    }

    #[test]
    fn masquerading_is_dockers_when_it_is_not_ours() {
        let with = |ours: &str| {
            let wanted = Wanted { single: false, ..both() };
            text(&variables(&format!("FLANNEL_IPMASQ={ours}")), &wanted)
        };
        assert_eq!(with("true").as_deref(), Ok("DOCKER_OPTS=\" --ip-masq=false\"\n"));
        assert_eq!(with("false").as_deref(), Ok("DOCKER_OPTS=\" --ip-masq=true\"\n"));
        assert_eq!(with("").as_deref(), Ok("DOCKER_OPTS=\"\"\n"));
        assert_eq!(with("maybe"), Err(BadMasquerade("maybe".into())));
        let unasked = Wanted { masquerade: false, ..both() };
        assert!(text(&variables("FLANNEL_IPMASQ=maybe"), &unasked).is_ok());
    }

    #[test]
    fn what_was_there_before_is_kept() {
        let mut variables = variables("FLANNEL_MTU=1400\n");
        variables.insert("DOCKER_OPTS".into(), "--debug".into());
        variables.insert("DOCKER_OPT_DNS".into(), "--dns  10.0.0.1".into());
        let expected =
            "DOCKER_OPT_DNS=\"--dns 10.0.0.1\"\nDOCKER_OPT_MTU=\"--mtu=1400\"\nDOCKER_OPTS=\"--debug  --dns 10.0.0.1 --mtu=1400\"\n";
        assert_eq!(text(&variables, &both()).as_deref(), Ok(expected));
    }

    #[test]
    fn a_file_of_variables_is_read_as_a_shell_does() {
        let read = variables("# made by hand\nexport A=1\n B=\"two words\"\nC='x'\n2D=no\nnothing\nE=\n");
        let wanted = [("A", "1"), ("B", "two words"), ("C", "x"), ("E", "")];
        assert_eq!(read, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn a_route_that_leads_the_own_subnet_away_is_found() {
        let hex = |address: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(address));
        let line = |to, via| format!("eth0\t{}\t{}\t0003\t0\t0\t0\t{}\t0\t0\t0\n", hex(to), hex(via), hex([255, 255, 255, 0]));
        let head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";
        let variables = variables(SUBNET_ENV);
        let away = line([10, 1, 74, 0], [192, 0, 2, 1]);
        let found = elsewhere(&format!("{head}{}{away}", line([10, 1, 75, 0], [192, 0, 2, 9])), &variables);
        assert_eq!(found, Some(("10.1.74.0/24".parse().expect("a net"), "192.0.2.1".parse().expect("an address"))));
        assert_eq!(elsewhere(&format!("{head}{}", line([10, 1, 74, 0], [0; 4])), &variables), None, "Docker's own bridge");
        assert_eq!(elsewhere(&format!("{head}{}", line([10, 1, 75, 0], [192, 0, 2, 1])), &variables), None);
    }
}
