//! The Grafana dashboard in `host/dist`, panel by panel, as strictly as Grafana itself is lax: it draws an empty panel for a field or a label that it does not know.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::sample;
use crate::wire::Server;

/// Panels that are used, and the options that such a panel must have.
const PANELS: [(&str, &[&str]); 2] =
    [("stat", &["colorMode", "graphMode", "reduceOptions", "textMode"]), ("timeseries", &["legend", "tooltip"])];
/// Units by Grafana's names for them.
const UNITS: [&str; 8] = ["s", "bps", "pps", "percentunit", "cpm", "bytes", "short", "none"];
/// Labels that Prometheus adds to what it scrapes.
const ADDED: [&str; 2] = ["instance", "job"];
/// Grafana's grid is so many columns wide.
const COLUMNS: u64 = 24;

fn dashboard() -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/grafana/twill.json");
    serde_json::from_str(&fs::read_to_string(file).expect("the file is there")).expect("JSON")
}

fn panels(dashboard: &Value) -> &Vec<Value> {
    dashboard["panels"].as_array().expect("panels")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().filter(|text| !text.trim().is_empty()).unwrap_or_else(|| panic!("no text \"{key}\" in {value:#}"))
}

#[test]
fn the_dashboard_is_one_that_grafana_loads() {
    let dashboard = dashboard();
    assert_eq!((text(&dashboard, "title"), text(&dashboard, "uid")), ("twill", "twill"));
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 36), "{}", dashboard["schemaVersion"]);
    assert!(dashboard.get("id").is_none_or(Value::is_null), "an id of one installation is in it");
    assert!(dashboard.get("__inputs").is_none(), "it asks for inputs: its source is a variable");
    let variables: BTreeSet<&str> =
        dashboard["templating"]["list"].as_array().expect("variables").iter().map(|variable| text(variable, "name")).collect();
    assert_eq!(variables, BTreeSet::from(["node", "source"]));
    let mut ids = BTreeSet::new();
    let mut cells: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for panel in panels(&dashboard) {
        let id = panel["id"].as_u64().expect("an id");
        let title = text(panel, "title");
        assert!(ids.insert(id), "panel {id} is there twice");
        let (_, options) =
            PANELS.iter().find(|(kind, _)| *kind == text(panel, "type")).unwrap_or_else(|| panic!("{title}: {}", panel["type"]));
        for option in *options {
            assert!(!panel["options"][option].is_null(), "{title} has no option {option}");
        }
        let defaults = &panel["fieldConfig"]["defaults"];
        assert!(panel["fieldConfig"]["overrides"].is_array() && defaults.is_object(), "{title} has no fieldConfig");
        if let Some(unit) = defaults.get("unit") {
            assert!(unit.as_str().is_some_and(|unit| UNITS.contains(&unit)), "{title}: unit {unit}");
        }
        if let Some(steps) = defaults["thresholds"]["steps"].as_array() {
            assert!(steps.first().is_some_and(|step| step["value"].is_null()), "{title}: the first threshold is the base, without a value");
            let values: Vec<f64> = steps.iter().filter_map(|step| step["value"].as_f64()).collect();
            assert!(values.is_sorted() && values.len() + 1 == steps.len(), "{title}: {steps:?}");
        }
        let mut names = BTreeSet::new();
        for target in panel["targets"].as_array().filter(|targets| !targets.is_empty()).expect("targets") {
            assert!(names.insert(text(target, "refId")), "{title}: two targets of one name");
            assert!(!text(target, "expr").is_empty() && !text(target, "legendFormat").is_empty());
            for place in [panel, target] {
                assert_eq!(place["datasource"], serde_json::json!({ "type": "prometheus", "uid": "${source}" }), "{title}");
            }
        }
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().expect("a place"));
        assert!(w > 0 && h > 0 && x + w <= COLUMNS, "{title} is beyond the grid");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert_eq!(cells.insert(cell, id), None, "{title} lies over another panel");
        }
    }
    let bottom = cells.keys().map(|(_, y)| y + 1).max().expect("panels");
    assert_eq!(cells.len() as u64, COLUMNS * bottom, "there are holes between the panels");
}

/// The labels of each metric that a text of Prometheus' format has.
fn labels(metrics: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_once(['{', ' ']).expect("a sample");
        let labels = rest.split("\",").filter_map(|part| part.split_once("=\"")).map(|(label, _)| label.to_owned());
        all.entry(name.to_owned()).or_default().extend(labels.filter(|label| label.chars().all(|c| c.is_ascii_lowercase() || c == '_')));
    }
    all
}

/// Each metric of an expression with the labels that are asked of it: those of its braces, and those that the expression groups by.
fn asked(expression: &str) -> Vec<(String, BTreeSet<String>)> {
    let grouped: BTreeSet<String> = expression
        .split("by (")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .flat_map(|names| names.split(',').map(|name| name.trim().to_owned()))
        .collect();
    let mut found = Vec::new();
    for (at, _) in expression.match_indices("twill_") {
        let name: String = expression[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let rest = &expression[at + name.len()..];
        let braces = rest.strip_prefix('{').and_then(|rest| rest.split('}').next()).unwrap_or_default();
        let matched = braces.split(',').filter_map(|part| part.split(['=', '!']).next()).map(|label| label.trim().to_owned());
        found.push((name, matched.chain(grouped.clone()).filter(|label| !label.is_empty()).collect()));
    }
    found
}

#[tokio::test]
async fn every_expression_asks_for_metrics_and_labels_that_exist() {
    let server = Server::start(sample::snapshot()).await;
    let told = labels(&server.get("/metrics").await.body);
    let dashboard = dashboard();
    let rules = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/prometheus/twill.rules.yml")).expect("the file");
    let targets = panels(&dashboard).iter().flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let expressions: Vec<&str> = targets.map(|target| text(target, "expr")).chain(rules.lines()).collect();
    let mut count = 0;
    for (metric, labels) in expressions.iter().flat_map(|expression| asked(expression)).filter(|(name, _)| name != "twill_") {
        let known = told.get(&metric).unwrap_or_else(|| panic!("there is no metric {metric}"));
        let unknown: Vec<_> = labels.iter().filter(|label| !known.contains(*label) && !ADDED.contains(&label.as_str())).collect();
        assert!(unknown.is_empty(), "{metric} has no labels {unknown:?}, but {known:?}");
        count += 1;
    }
    assert!(count > 30, "{count} metrics were looked at");
    // What a legend names is left after grouping.
    for target in panels(&dashboard).iter().flat_map(|panel| panel["targets"].as_array().expect("targets")) {
        for rest in text(target, "legendFormat").split("{{").skip(1) {
            let (label, _) = rest.split_once("}}").expect("a closed name");
            assert!(text(target, "expr").contains(label.trim()), "{} speaks of {label}", text(target, "legendFormat"));
        }
    }
}
