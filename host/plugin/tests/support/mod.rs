//! What the tests of the plugin host share: a folder to load plugins from, values to ask with, and small backends written in WebAssembly
//! text.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use twill_model::node::{Node, Underlay};
use twill_model::status::PluginStatus;
use twill_model::{Addresses, Lease, Lifetime, NodeId, Prefixes, Way};
use twill_plugin::{Keys, LimitTable, PluginSettings, Plugins};
use twill_reconcile::ports::{Context, Network};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A temporary home: two plugin folders, a cache, a directory for a store.
pub struct Home(tempfile::TempDir);

impl Home {
    pub fn new() -> Home {
        let home = Home(tempfile::tempdir().expect("a temporary folder"));
        for folder in ["plugins", "more", "data"] {
            std::fs::create_dir(home.path(folder)).expect("a folder");
        }
        home
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts a file into the first plugin folder.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path("plugins").join(name), bytes).expect("written");
    }

    pub fn settings(&self) -> PluginSettings {
        let folders = vec![self.path("plugins"), self.path("more"), self.path("missing")];
        PluginSettings {
            folders,
            cache: self.path("cache"),
            limits: LimitTable::default(),
            lock: None,
            kept: Some(self.path("kept")),
            keys: Keys::default(),
        }
    }

    pub async fn open(&self) -> Plugins {
        Plugins::open(self.settings()).await.expect("the plugins open")
    }
}

/// The status of the plugin or file of that name.
pub fn status(plugins: &Plugins, name: &str) -> PluginStatus {
    plugins.status().into_iter().find(|status| status.name == name).unwrap_or_else(|| panic!("no status of {name}"))
}

/// The real plugins, when `make build` or the tool `twill-componentize` has made them.
pub fn real(name: &str) -> Option<Vec<u8>> {
    built("plugins", name)
}

/// The plugins that only tests use, when they are built.
pub fn for_tests(name: &str) -> Option<Vec<u8>> {
    built("test-plugins", name)
}

fn built(folder: &str, name: &str) -> Option<Vec<u8>> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target").join(folder).join(name);
    let bytes = std::fs::read(&built).ok();
    if bytes.is_none() {
        assert!(std::env::var_os("TWILL_COMPLETE").is_none(), "{name} is not built (make build)");
        println!("skipped: {name} is not built (make build)");
    }
    bytes
}

pub fn lease(number: u8) -> Lease {
    Lease {
        subnets: subnet(number),
        public: Addresses { v4: Some(Ipv4Addr::new(192, 0, 2, number)), v6: None },
        ways: vec![way()],
        node: Some(NodeId(format!("node-{number}"))),
        life: Lifetime::Seconds(86_400),
    }
}

pub fn subnet(number: u8) -> Prefixes {
    Prefixes { v4: Some(format!("10.1.{number}.0/24").parse().expect("a prefix")), v6: None }
}

pub fn way() -> Way {
    Way { backend: "udp".into(), options: r#"{"Type":"udp","Port":8285}"#.into(), data_v4: None, data_v6: None }
}

pub fn network() -> Network {
    Network { ranges: vec!["10.1.0.0/16".parse().expect("a prefix")], backend: "udp".into() }
}

pub fn node() -> Node {
    let addresses = vec!["192.0.2.1/24".parse().expect("an address")];
    Node {
        id: NodeId("node-1".into()),
        underlay: Underlay { name: "eth0".into(), index: 2, mtu: 1500, addresses },
        public: Addresses { v4: Some(Ipv4Addr::new(192, 0, 2, 1)), v6: None },
        seed: "00".repeat(32),
    }
}

pub fn context() -> Context {
    Context { network: network(), node: node(), mine: lease(1), way: way(), primary: true }
}

/// A backend in WebAssembly text; each body stands in a function from the address of its arguments to the address of its answer. Memory
/// is zero from 64 KiB on,
/// and an answer of zeros is a success without items.
pub struct Text {
    pub name: &'static str,
    pub version: &'static str,
    pub local: &'static str,
    pub receive: &'static str,
}

/// The address of an answer of zeros.
pub const NOTHING: &str = "(i32.const 65536)";

impl Default for Text {
    fn default() -> Text {
        Text { name: "test", version: "1.0.0", local: NOTHING, receive: NOTHING }
    }
}

impl Text {
    pub fn component(&self) -> Vec<u8> {
        component(&self.module(), "package t:t; world w { include twill:plugin/backend@0.1.0; }")
    }

    /// A core module: `describe` answers with the record at 16, whose strings lie from 256 on.
    fn module(&self) -> String {
        let Text { name, version, local, receive } = self;
        let (n, v) = (name.len(), version.len());
        let about = [(256, n), (256 + n, v), (256 + n + v, 0), (256 + n + v, 2)];
        let words: String = about
            .iter()
            .flat_map(|(at, len)| [*at, *len])
            .flat_map(|word| (word as u32).to_le_bytes())
            .map(|b| format!("\\{b:02x}"))
            .collect();
        let api = "twill:plugin/backend-api@0.1.0";
        format!(
            r#"(module
              (import "twill:plugin/log@0.1.0" "write" (func $log (param i32 i32 i32)))
              (memory (export "memory") 256)
              (table 1 funcref)
              (global $free (mut i32) (i32.const 8388608))
              (data (i32.const 16) "{words}")
              (data (i32.const 256) "{name}{version}{{}}")
              (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (if (i32.gt_u (global.get $free) (i32.const 12582912)) (then (global.set $free (i32.const 8388608))))
                (global.set $free (i32.and (i32.add (global.get $free) (i32.const 15)) (i32.const -16)))
                (global.get $free)
                (global.set $free (i32.add (global.get $free) (local.get 3))))
              (func (export "{api}#describe") (result i32) (i32.const 16))
              (func (export "{api}#advertise") (param i32) (result i32) unreachable)
              (func (export "{api}#local") (param i32) (result i32) (local $i i32) {local})
              (func (export "{api}#send-to") (param i32) (result i32) unreachable)
              (func (export "{api}#receive-from") (param i32) (result i32) (local $i i32) {receive}))"#
        )
    }
}

/// Makes a component of a module for the world `w` of that package.
pub fn component(module: &str, package: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve.push_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit/0.1.0")).expect("the contract parses");
    let own = resolve.push_str("test.wit", package).expect("the world parses");
    let world = resolve.select_world(&[own], Some("w")).expect("the world");
    let mut bytes = wat::parse_str(module).expect("the text parses");
    embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8).expect("embedded");
    ComponentEncoder::default().module(&bytes).expect("the module fits the world").validate(true).encode().expect("a component")
}
