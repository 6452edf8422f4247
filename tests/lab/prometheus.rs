//! A real Prometheus on a node, which scrapes the node's daemon each second, with the alert rules that come with twill.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::Result;

use crate::node::Node;
use crate::process::run;

/// A file of `host/dist`.
pub fn dist(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/dist").join(file)
}

/// A Prometheus that runs, on port 9090; it ends with this value.
#[derive(Debug)]
pub struct Prometheus<'a> {
    node: &'a Node,
    child: Child,
}

impl Prometheus<'_> {
    /// Starts one on `node`.
    pub fn on(node: &Node) -> Result<Prometheus<'_>> {
        let dir = node.dir("lib").join("prometheus");
        std::fs::create_dir_all(&dir)?;
        let config = dir.join("prometheus.yml");
        let rules = dist("prometheus/twill.rules.yml");
        let text = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [{}]\nscrape_configs:\n  - job_name: twill\n    static_configs: [{{ targets: ['127.0.0.1:4646'] }}]\n",
            rules.display()
        );
        std::fs::write(&config, text)?;
        let mut command = node.net().command("prometheus")?;
        command.arg(format!("--config.file={}", config.display())).arg(format!("--storage.tsdb.path={}", dir.join("data").display()));
        let child = command.arg("--web.listen-address=127.0.0.1:9090").stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Prometheus { node, child })
    }

    /// What it answers to a question now, one series a line.
    pub fn query(&self, expression: &str) -> Result<String> {
        // An expression may begin with a minus.
        run(self.node.net().command("promtool")?.args(["query", "instant", "http://127.0.0.1:9090", "--", expression]))
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
