//! The alert rules and the Grafana dashboard in `host/dist` speak of metrics that exist. That the rules mean what they say is promtool's to check, in the end-to-end tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::sample;
use crate::wire::Server;

/// The words of a text that look like metrics of twill's.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
    words.filter(|word| word.starts_with("twill_")).map(str::to_owned).collect()
}

#[tokio::test]
async fn rules_and_dashboard_speak_of_metrics_that_exist() {
    let server = Server::start(sample::snapshot()).await;
    let text = server.get("/metrics").await.body;
    let told: BTreeSet<String> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).map(str::to_owned).collect();
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist");
    for (file, least) in [("prometheus/twill.rules.yml", 10), ("prometheus/twill.rules.test.yml", 10), ("grafana/twill.json", 15)] {
        let used = metrics(&fs::read_to_string(dist.join(file)).expect("the file is there"));
        assert!(used.len() >= least, "{file} speaks of {} metrics only", used.len());
        let missing: Vec<&String> = used.difference(&told).collect();
        assert!(missing.is_empty(), "{file} speaks of {missing:?}, which the daemon does not tell");
    }
    serde_json::from_str::<serde_json::Value>(&fs::read_to_string(dist.join("grafana/twill.json")).expect("the file is there"))
        .expect("JSON");
}
