//! The program as it is called in flannel's place: what goes where, what is said on which stream, and with which exit code. Nothing here reaches the kernel.

use std::net::TcpListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Output};

/// What a call printed, and its exit code.
struct Ended {
    out: String,
    err: String,
    code: Option<i32>,
}

fn call(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twill"));
    let Output { status, stdout, stderr } =
        command.arg0(name).args(arguments).env_clear().envs(environment.iter().copied()).output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Ended { out: text(stdout), err: text(stderr), code: status.code() }
}

#[test]
fn the_version_goes_to_standard_error_under_flannels_name_only() {
    let flanneld = call("/opt/bin/flanneld", &["--version"], &[]);
    assert_eq!((flanneld.out.as_str(), flanneld.code), ("", Some(0)));
    assert_eq!(flanneld.err, concat!("twill ", env!("CARGO_PKG_VERSION"), "\n"));
    let twill = call("twill", &["--version"], &[("FLANNELD_IP_MASQ", "true")]);
    assert_eq!((twill.err.as_str(), twill.code), ("", Some(0)));
    assert_eq!(twill.out, flanneld.err);
}

#[test]
fn help_is_in_the_words_of_the_name_it_was_called_by() {
    let flanneld = call("flanneld", &["-h"], &[]);
    assert_eq!(flanneld.code, Some(0));
    assert!(flanneld.out.contains("--etcd-endpoints") && flanneld.out.contains("--log_backtrace_at"), "{}", flanneld.out);
    let twill = call("twill", &["--help"], &[]);
    assert_eq!(twill.code, Some(0));
    assert!(twill.out.contains("docker-opts"), "{}", twill.out);
}

#[test]
fn a_wish_that_cannot_be_fulfilled_ends_with_a_sentence() {
    let table: [(&str, &[&str], i32, &str); 4] = [
        ("flanneld", &["-etcd-endpoint=x"], 64, "there is no flag \"--etcd-endpoint\""),
        ("twill", &["-kube-subnet-mgr"], 69, "cannot keep leases in Kubernetes"),
        ("twill", &["-ip-masq", "-healthz-ip=here"], 1, "cannot answer health checks on \"here\""),
        ("flanneld", &["-public-ip=192.0.2.300"], 64, "192.0.2.300"),
    ];
    for (name, arguments, code, words) in table {
        let ended = call(name, arguments, &[]);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {}", ended.err);
        assert!(ended.err.contains(words), "{arguments:?}: {}", ended.err);
    }
    let by_variable = call("twill", &[], &[("FLANNELD_KUBE_SUBNET_MGR", "true")]);
    assert_eq!(by_variable.code, Some(69), "{}", by_variable.err);
}

/// The health checks' port is taken, so the daemon ends before it looks at anything else.
#[test]
fn a_taken_port_is_a_sentence_and_the_log_has_no_password() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = format!("-healthz-port={}", taken.local_addr().expect("an address").port());
    let flags =
        ["-etcd-username=root", "-etcd-password=hunter2", "-healthz-ip=127.0.0.1", &port, "-v=10", "-iptables-resync=9", "--", "odd"];
    let ended = call("flanneld", &flags, &[("FLANNELD_ETCD_ENDPOINTS", "http://root:hunter2@127.0.0.1:1"), ("FLANNELD_IP_MASQ", "oui")]);
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    for words in [
        "cannot answer health checks on 127.0.0.1:",
        "--etcd-password=***",
        "--iptables-resync is passed over",
        "FLANNELD_IP_MASQ",
        "\"odd\"",
    ] {
        assert_eq!(ended.err.matches(words).count(), 1, "{words}: {}", ended.err);
    }
    assert!(!format!("{}{}", ended.out, ended.err).contains("hunter2"), "{}", ended.err);
}

const SUBNET_ENV: &str = "FLANNEL_NETWORK=198.18.0.0/16\nFLANNEL_SUBNET=198.18.74.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=false\n";

fn docker_opts(folder: &Path, flags: &[&str], environment: &[(&str, &str)]) -> (Ended, Option<String>) {
    let (from, to) = (folder.join("subnet.env"), folder.join("docker.env"));
    let files = ["docker-opts", "-f", from.to_str().expect("text"), "-d", to.to_str().expect("text")];
    let ended = call("twill", &[&files, flags].concat(), environment);
    (ended, std::fs::read_to_string(to).ok())
}

#[test]
fn docker_opts_writes_what_the_script_writes() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("subnet.env"), SUBNET_ENV).expect("written");
    let single = "DOCKER_OPT_BIP=\"--bip=198.18.74.1/24\"\nDOCKER_OPT_IPMASQ=\"--ip-masq=true\"\nDOCKER_OPT_MTU=\"--mtu=1472\"\n";
    let all = "\" --bip=198.18.74.1/24 --ip-masq=true --mtu=1472\"\n";
    let table: [(&[&str], String); 6] = [
        (&[], format!("{single}DOCKER_OPTS={all}")),
        (&["-i"], single.into()),
        (&["-c"], format!("DOCKER_OPTS={all}")),
        (&["-ic", "-k", "MINE"], format!("{single}MINE={all}")),
        (&["-k", "CUSTOM_KEY"], format!("{single}CUSTOM_KEY={all}")),
        (&["-c", "-m"], "DOCKER_OPTS=\" --bip=198.18.74.1/24 --mtu=1472\"\n".into()),
    ];
    for (flags, wanted) in table {
        let (ended, written) = docker_opts(folder.path(), flags, &[]);
        assert_eq!((ended.code, written), (Some(0), Some(wanted)), "{flags:?}: {}", ended.err);
    }
    let (_, written) =
        docker_opts(folder.path(), &["-c", "-m"], &[("DOCKER_OPTS", "--debug"), ("DOCKER_OPT_X", "--x"), ("FLANNEL_MTU", "9")]);
    assert_eq!(
        written.as_deref(),
        Some("DOCKER_OPTS=\"--debug  --bip=198.18.74.1/24 --mtu=1472 --x\"\n"),
        "the file wins over the environment"
    );
}

#[test]
fn docker_opts_refuses_what_makes_no_sense_and_writes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("subnet.env"), "FLANNEL_IPMASQ=maybe\n").expect("written");
    let (ended, written) = docker_opts(folder.path(), &[], &[]);
    assert_eq!((ended.code, written), (Some(1), None), "{}", ended.err);
    assert!(ended.err.contains("FLANNEL_IPMASQ is \"maybe\""), "{}", ended.err);
    let (ended, written) = docker_opts(folder.path(), &["-k", "NOT-A-NAME"], &[]);
    assert_eq!((ended.code, written), (Some(64), None), "{}", ended.err);
}

/// A stream whose reader has gone.
fn unread() -> std::io::PipeWriter {
    std::io::pipe().expect("a pipe").1
}

/// The commands that a help text lists, and those below them, each as its words.
fn commands(above: &[&str]) -> Vec<Vec<String>> {
    let help = call("twill", &[above, &["--help"]].concat(), &[]).out;
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.strip_prefix("  ").filter(|name| !name.starts_with(' '))?.split_whitespace().next());
    let mut found = Vec::new();
    for name in names.filter(|name| *name != "help") {
        let words = [above, &[name]].concat();
        found.push(words.iter().map(|word| (*word).to_owned()).collect());
        found.extend(commands(&words));
    }
    found
}

#[test]
fn a_command_whose_reader_went_away_ends_without_a_word() {
    let silent = |name: &str, words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_twill"));
        let ended = command.arg0(name).args(words).env_clear().stdout(unread()).output().expect("the program starts");
        let told = String::from_utf8_lossy(&ended.stderr);
        assert_eq!((ended.status.signal(), told.as_ref()), (Some(13), ""), "{name} {words:?}: as by SIGPIPE, like any filter");
    };
    let all = commands(&[]);
    assert!(all.len() > 30 && all.contains(&vec!["plugin".into(), "new".into()]), "{all:?}");
    for command in &all {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        silent("twill", &[&words[..], &["--help"]].concat());
    }
    for words in [&["--help"][..], &["-h"], &["--version"], &["help", "plan"], &["completions", "bash"], &["man"]] {
        silent("twill", words);
    }
    silent("flanneld", &["-help"]);
}

#[test]
fn an_error_that_nobody_reads_keeps_its_exit_code() {
    for (name, words, code, signal) in [
        ("twill", &["plan", "--knit"][..], Some(64), None),
        ("twill", &["run", "--config", "/nowhere/twill.toml"], Some(64), None),
        ("flanneld", &["-etcd-endpoint=x"], Some(64), None),
        ("flanneld", &["--version"], None, Some(13)),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_twill"));
        let ended = command.arg0(name).args(words).env_clear().stderr(unread()).output().expect("the program starts");
        assert_eq!((ended.status.code(), ended.status.signal()), (code, signal), "{name} {words:?}");
    }
}

#[test]
fn completions_and_manual_pages_are_made_of_the_command_line() {
    for (shell, words) in [("bash", "complete -F _twill"), ("zsh", "#compdef twill"), ("fish", "complete -c twill")] {
        let ended = call("twill", &["completions", shell], &[]);
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{shell}");
        assert!(ended.out.contains(words) && ended.out.contains("docker-opts"), "{shell}: {}", ended.out);
    }
    assert_eq!(call("twill", &["completions", "csh"], &[]).code, Some(64));
    let page = call("twill", &["man"], &[]).out;
    assert!(page.contains(".TH twill 1") && page.contains("docker\\-opts"), "{page}");
    let page = call("twill", &["man", "plugin", "reload"], &[]).out;
    assert!(page.contains("plugin\\-reload") || page.contains("plugin-reload"), "{page}");
    assert_eq!(call("twill", &["man", "knit"], &[]).code, Some(64));
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(call("twill", &["man", "--dir", folder.path().to_str().expect("text")], &[]).code, Some(0));
    let pages: Vec<String> = std::fs::read_dir(folder.path())
        .expect("a folder")
        .map(|page| page.expect("a page").file_name().into_string().expect("text"))
        .collect();
    for page in ["twill.1", "twill-run.1", "twill-drain.1", "twill-plugin-reload.1"] {
        assert!(pages.iter().any(|found| found == page), "{page} is not among {pages:?}");
    }
}

/// The health checks' port is taken, so the daemon logs a little and ends.
#[test]
fn systemds_journal_gets_priorities_and_no_times() {
    use std::os::unix::fs::MetadataExt;
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = format!("-healthz-port={}", taken.local_addr().expect("an address").port());
    let logged = |journal: bool| {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let metadata = file.as_file().metadata().expect("metadata");
        let mut command = Command::new(env!("CARGO_BIN_EXE_twill"));
        command.arg0("flanneld").args(["-healthz-ip=127.0.0.1", &port]).env_clear().stderr(file.reopen().expect("a file"));
        // Of another process's stream, which this one inherited, nothing is believed.
        let inode = if journal { metadata.ino() } else { metadata.ino() + 1 };
        command.env("JOURNAL_STREAM", format!("{}:{inode}", metadata.dev()));
        command.status().expect("the program ends");
        std::fs::read_to_string(file.path()).expect("a log")
    };
    let journal = logged(true);
    let first = journal.lines().next().unwrap_or_default();
    assert!(first.starts_with("<4>flannel's command line is taken for: twill run"), "{journal}");
    assert!(journal.lines().last().is_some_and(|last| last.starts_with("<3>cannot answer health checks")), "{journal}");
    let plain = logged(false);
    assert!(plain.lines().next().is_some_and(|line| line.contains(" WARN flannel's command line")), "{plain}");
    assert!(plain.lines().last().is_some_and(|last| last.starts_with("twill: cannot answer health checks")), "{plain}");
}

/// The same daemon with `--log-format=json`, by its variable: whoever gathers logs can read every line, to the last.
#[test]
fn a_log_in_json_is_json_to_the_last_line() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = format!("-healthz-port={}", taken.local_addr().expect("an address").port());
    let mut command = Command::new(env!("CARGO_BIN_EXE_twill"));
    command.arg0("flanneld").args(["-healthz-ip=127.0.0.1", &port]).env_clear().env("TWILL_LOG_FORMAT", "json");
    let output = command.output().expect("the program ends");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && log.lines().count() >= 2, "{log}");
    for line in log.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}\n{log}"));
        let time = entry["timestamp"].as_str().unwrap_or_default();
        assert!(time.len() >= 20 && time.ends_with('Z') && time.as_bytes()[10] == b'T', "no time: {line}");
        assert!(entry["level"].as_str().is_some_and(|level| ["ERROR", "WARN", "INFO"].contains(&level)), "no level: {line}");
        assert!(entry["fields"]["message"].as_str().is_some_and(|message| !message.is_empty()), "no message: {line}");
    }
    assert!(log.contains("flannel's command line is taken for: twill run") && log.contains("healthz"), "{log}");
}
