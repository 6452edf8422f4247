//! What came of a check: a finding a rule, for people and as JSON.

use std::fmt;

use serde::Serialize;
use twill_plugin::Inspected;

use crate::rules::Rule;

/// Faults of one rule that are shown; the rest is counted.
const SHOWN: usize = 8;

/// All findings about one file.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The plugin's name, such as "backend-udp".
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// Where it was found.
    pub file: String,
    /// SHA-256 of the file in hex.
    pub digest: String,
    /// No rule is broken.
    pub conforms: bool,
    /// In the order in which the rules were put.
    pub findings: Vec<Finding>,
}

/// What came of one rule.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// The rule's name.
    pub rule: &'static str,
    /// What it demands.
    pub demands: &'static str,
    /// How the plugin stands to it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How a plugin stands to a rule.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    /// It keeps to it.
    Kept {
        /// What was seen.
        seen: String,
    },
    /// It breaks it.
    Broken {
        /// Each way in which it does, with question and answer.
        faults: Vec<String>,
        /// What to do.
        advice: &'static str,
    },
    /// It could not be put to this plugin.
    Skipped {
        /// Why.
        reason: String,
    },
}

/// The answer to one rule: what was seen, or what went wrong.
pub(crate) type Verdict = Result<String, Miss>;

/// A rule that was not kept.
#[derive(Debug)]
pub(crate) enum Miss {
    /// Broken, in these ways.
    Broken(Vec<String>),
    /// Cannot be put to this plugin.
    Skipped(String),
}

/// One way in which a rule is broken.
pub(crate) fn broken(fault: impl Into<String>) -> Miss {
    Miss::Broken(vec![fault.into()])
}

/// Kept unless there are faults.
pub(crate) fn kept_unless(faults: Vec<String>, seen: impl Into<String>) -> Verdict {
    if faults.is_empty() { Ok(seen.into()) } else { Err(Miss::Broken(faults)) }
}

/// Findings as they come in.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    pub(crate) fn take(&mut self, rule: &Rule, verdict: Verdict) {
        match verdict {
            Ok(seen) => self.pass(rule, seen),
            Err(Miss::Broken(faults)) => self.fail(rule, faults),
            Err(Miss::Skipped(reason)) => self.note(rule, Outcome::Skipped { reason }),
        }
    }

    pub(crate) fn pass(&mut self, rule: &Rule, seen: String) {
        self.note(rule, Outcome::Kept { seen });
    }

    pub(crate) fn fail(&mut self, rule: &Rule, faults: Vec<String>) {
        self.note(rule, Outcome::Broken { faults, advice: rule.advice });
    }

    fn note(&mut self, rule: &Rule, outcome: Outcome) {
        self.0.push(Finding { rule: rule.name, demands: rule.demands, outcome });
    }

    pub(crate) fn report(self, inspected: &Inspected) -> Report {
        let conforms = !self.0.iter().any(|finding| matches!(finding.outcome, Outcome::Broken { .. }));
        let status = &inspected.status;
        Report {
            plugin: status.name.clone(),
            version: status.version.clone(),
            file: status.file.clone(),
            digest: status.digest.clone(),
            conforms,
            findings: self.0,
        }
    }
}

impl Report {
    /// The rules that the plugin breaks.
    pub fn broken(&self) -> Vec<&'static str> {
        self.findings.iter().filter(|finding| matches!(finding.outcome, Outcome::Broken { .. })).map(|finding| finding.rule).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {} ({})", self.plugin, self.version, self.file)?;
        let (mut kept, mut broken, mut skipped) = (0, 0, 0);
        for finding in &self.findings {
            match &finding.outcome {
                Outcome::Kept { seen } => {
                    kept += 1;
                    writeln!(f, "  ok       {:22} {seen}", finding.rule)?;
                }
                Outcome::Skipped { reason } => {
                    skipped += 1;
                    writeln!(f, "  skipped  {:22} {reason}", finding.rule)?;
                }
                Outcome::Broken { faults, advice } => {
                    broken += 1;
                    writeln!(f, "  BROKEN   {:22} {}", finding.rule, finding.demands)?;
                    faults.iter().take(SHOWN).try_for_each(|fault| writeln!(f, "             - {fault}"))?;
                    if let Some(more @ 1..) = faults.len().checked_sub(SHOWN) {
                        writeln!(f, "             - and {more} more (all of them: --json)")?;
                    }
                    writeln!(f, "             To do: {advice}")?;
                }
            }
        }
        let verdict = if self.conforms { "conforms" } else { "does not conform" };
        writeln!(f, "{} {verdict}: {kept} rules kept, {broken} broken, {skipped} skipped", self.plugin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule { name: "tidy", demands: "is tidy", advice: "tidy up" };

    fn report(faults: usize) -> String {
        let mut findings = Findings::default();
        findings.fail(&RULE, (0..faults).map(|number| format!("fault {number}")).collect());
        let report = Report {
            plugin: "backend-x".into(),
            version: "1.0.0".into(),
            file: "x.wasm".into(),
            digest: String::new(),
            conforms: false,
            findings: findings.0,
        };
        report.to_string()
    }

    #[test]
    fn a_broken_rule_is_named_with_its_faults_and_what_to_do() {
        let text = report(2);
        for words in ["BROKEN", "tidy", "is tidy", "- fault 1\n", "To do: tidy up", "0 rules kept, 1 broken, 0 skipped"] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(!text.contains("more (all"), "{text}");
    }

    #[test]
    fn many_faults_are_counted() {
        let text = report(SHOWN + 3);
        assert!(text.contains("- and 3 more (all of them: --json)") && !text.contains("fault 8"), "{text}");
    }
}
