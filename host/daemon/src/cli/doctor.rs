//! `twill doctor`: looks for what keeps twill, or pods' traffic, from working on this host, and says what to do about it.

use clap::Args;
use twill_model::status::Snapshot;

use super::client::get;
use super::wait_for;
use crate::doctor::{Facts, Finding, Level, judge};
use crate::exit::Exit;
use crate::settings::RunSettings;

/// Look for what keeps twill, or pods' traffic, from working on this host, and say what to do about it.
///
/// It looks only, and changes nothing. It can be asked before the daemon was ever run: give it the settings that `twill run` gets. Where a daemon runs, it is asked too.
/// The exit code is 1 when something does not work.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twill doctor
  twill doctor --store etcd --etcd-endpoints http://192.0.2.1:2379 --iface eth1
  twill doctor --json")]
pub struct Doctor {
    /// Print findings as JSON: check, level (ok, note, warn, fail), found, advice.
    #[arg(long)]
    json: bool,
    /// What is not worth a word is told too.
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    settings: RunSettings,
}

impl Doctor {
    /// Looks, and prints what was found.
    pub fn main(self) -> Result<(), Exit> {
        let findings = wait_for(async {
            let daemon: Option<Snapshot> = get(&self.settings.instance, "/api/v1/snapshot").await.ok();
            Ok(judge(&Facts::gather(&self.settings, daemon).await))
        })?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&findings).map_err(Exit::failed)?);
        } else {
            print!("{}", words(&findings, self.verbose));
        }
        if findings.iter().any(|finding| finding.level == Level::Fail) { Err(Exit::silent(1)) } else { Ok(()) }
    }
}

fn words(findings: &[Finding], verbose: bool) -> String {
    let shown = findings.iter().filter(|finding| verbose || finding.level > Level::Ok);
    let mut text: String = shown.map(line).collect();
    let count = |level: Level| findings.iter().filter(|finding| finding.level == level).count();
    text += &match (count(Level::Fail), count(Level::Warn)) {
        (0, 0) => format!("{} checks, nothing stands in the way\n", findings.len()),
        (fails, warnings) => format!("{} checks: {fails} do not work, {warnings} warnings\n", findings.len()),
    };
    text
}

fn line(finding: &Finding) -> String {
    let level = match finding.level {
        Level::Ok => "ok",
        Level::Note => "note",
        Level::Warn => "warn",
        Level::Fail => "FAIL",
    };
    let advice = finding.advice.as_ref().map_or_else(String::new, |advice| format!("      {:16} to do: {advice}\n", ""));
    format!("{level:5} {:16} {}\n{advice}", finding.check, finding.found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_well_is_not_worth_a_word() {
        let found =
            |level, advice: Option<&str>| Finding { check: "clock", level, found: "something".into(), advice: advice.map(str::to_owned) };
        let findings = [found(Level::Ok, None), found(Level::Fail, Some("mend it"))];
        let told = words(&findings, false);
        assert_eq!(told, "FAIL  clock            something\n                       to do: mend it\n2 checks: 1 do not work, 0 warnings\n");
        assert!(words(&findings, true).starts_with("ok    clock"));
        assert_eq!(words(&findings[..1], false), "1 checks, nothing stands in the way\n");
    }
}
