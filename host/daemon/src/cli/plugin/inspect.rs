//! `twill plugin inspect`: what a file is, without putting it to use.

use clap::Args;
use serde_json::{Value, json};
use twill_plugin::Inspected;

use super::file::{OneFile, misfit, run};
use crate::exit::Exit;

/// Say what a plugin file is: name, version, world, contract, imports, options.
///
/// The file is compiled, its imports are checked, and it is asked to describe itself; nothing else of it is run. A file that does not fit is shown as far as it can be, and the
/// exit code is 1.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twill plugin inspect target/plugins/backend-udp.wasm
  twill plugin inspect --json my-backend.wasm | jq .schema")]
pub struct Inspect {
    #[command(flatten)]
    one: OneFile,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Inspect {
    /// Loads, prints.
    pub fn main(self) -> Result<(), Exit> {
        run(async {
            let (_plugins, inspected) = self.one.load().await?;
            let bytes = std::fs::metadata(&self.one.file).map_err(Exit::failed)?.len();
            if self.json {
                println!("{:#}", document(&inspected, bytes))
            } else {
                print!("{}", words(&inspected, bytes))
            }
            misfit(&self.one.file, &inspected).map_or(Ok(()), Err)
        })
    }
}

fn document(inspected: &Inspected, bytes: u64) -> Value {
    let status = &inspected.status;
    json!({
        "name": status.name, "version": status.version, "summary": status.summary, "world": status.world, "contract": status.contract,
        "file": status.file, "digest": status.digest, "bytes": bytes, "imports": status.imports, "error": status.error,
        "directory": inspected.directory, "upstreams": inspected.upstreams, "schema": schema(inspected),
    })
}

/// The schema as JSON; as text where it is none.
fn schema(inspected: &Inspected) -> Value {
    serde_json::from_str(&inspected.schema).unwrap_or_else(|_| inspected.schema.clone().into())
}

fn words(inspected: &Inspected, bytes: u64) -> String {
    let status = &inspected.status;
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".into());
    let mut lines = vec![
        format!("name      {} {}", status.name, status.version),
        format!("summary   {}", status.summary),
        format!("world     {}, contract {}", known(&status.world), known(&status.contract)),
        format!("file      {}, {} KiB", status.file, bytes.div_ceil(1024)),
        format!("digest    {}", status.digest),
    ];
    let (wasi, ours): (Vec<&String>, Vec<&String>) = status.imports.iter().partition(|import| import.starts_with("wasi:"));
    lines.extend(ours.iter().map(|import| format!("imports   {import}")));
    if !wasi.is_empty() {
        lines.push(format!("imports   {} interfaces of WASI, which is linked empty", wasi.len()));
    }
    if inspected.directory {
        lines.push("wants     a directory (--store-dir)".into());
    }
    lines.extend(inspected.upstreams.iter().map(|name| format!("wants     the server \"{name}\"")));
    if let Value::Object(schema) = schema(inspected) {
        let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        lines.extend(properties.iter().map(|(name, property)| format!("option    {name}: {}", option(property))));
    }
    lines.into_iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// One option's schema in words.
fn option(property: &Value) -> String {
    let of = |key: &str| property.get(key);
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut parts = Vec::new();
    if let Some(only) = of("const") {
        parts.push(format!("always {only}"));
    }
    parts.extend(of("type").map(plain));
    if let (Some(least), Some(most)) = (of("minimum"), of("maximum")) {
        parts.push(format!("{least} to {most}"));
    }
    parts.extend(of("default").map(|default| format!("default {default}")));
    parts.extend(of("description").map(plain));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_a_line() {
        let port = json!({"type": "integer", "minimum": 1, "maximum": 65535, "default": 8285, "description": "UDP port"});
        assert_eq!(option(&port), "integer, 1 to 65535, default 8285, UDP port");
        assert_eq!(option(&json!({"const": "udp"})), "always \"udp\"");
    }
}
