//! What `twill plugin new` writes: the templates, the contract and the guest crate, all of which are in this binary.
//!
//! The guest crate is not in a registry, so a Rust project gets its sources; its manifest inherits from this workspace, and is made to stand alone here. Pure.

use std::path::PathBuf;

use clap::ValueEnum;
use rust_embed::RustEmbed;
use toml::{Table, Value};

/// Languages that there is a template for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// Rust: small and quick.
    Rust,
    /// Python, by componentize-py.
    Python,
    /// JavaScript, by componentize-qjs.
    #[value(alias = "javascript")]
    Js,
}

/// What a plugin may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Plans how packets reach peers.
    Backend,
    /// Keeps the config and the leases.
    Store,
}

/// The contract's version that new plugins are built against.
const CONTRACT: &str = "0.1.0";

#[derive(RustEmbed)]
#[folder = "templates/"]
struct Templates;

#[derive(RustEmbed)]
#[folder = "../../wit/0.1.0/"]
struct Contract;

#[derive(RustEmbed)]
#[folder = "../../plugins/guest/src/"]
struct GuestSources;

const GUEST_MANIFEST: &str = include_str!("../../../../../plugins/guest/Cargo.toml");
const WORKSPACE_MANIFEST: &str = include_str!("../../../../../Cargo.toml");
const LICENCE: &str = include_str!("../../../../../LICENSE");

/// A file of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path in the project.
    pub path: PathBuf,
    /// Its content.
    pub content: String,
}

/// All files of a project in that language, for a plugin of that name.
///
/// # Errors
/// There is no such template. (Or the guest crate's manifest cannot be made to stand alone, which a test sees first.)
pub fn files(language: Language, kind: Kind, name: &str) -> Result<Vec<File>, String> {
    let folder = match (kind, language) {
        (Kind::Backend, Language::Rust) => "rust-backend/",
        (Kind::Backend, Language::Python) => "python-backend/",
        (Kind::Backend, Language::Js) => "js-backend/",
        (Kind::Store, Language::Rust) => "rust-store/",
        (Kind::Store, _) => {
            return Err(
                "stores have a template in Rust alone: --lang rust. In another language begin with a backend's project, and export the \
                        world \"store\" of wit/ instead"
                    .into(),
            );
        }
    };
    let mut files: Vec<File> = Templates::iter()
        .filter_map(|path| Some((path.strip_prefix(folder)?.to_owned(), text(Templates::get(&path)?))))
        .map(|(path, content)| File { path: real_name(&path), content: content.replace("@name@", name) })
        .collect();
    files.extend(embedded::<Contract>(&format!("wit/{CONTRACT}/")));
    if language == Language::Rust {
        files.extend(guest()?);
    }
    Ok(files)
}

/// Names that would mean something in this repository are written otherwise in it.
fn real_name(path: &str) -> PathBuf {
    path.strip_suffix(".template").unwrap_or(path).replace("gitignore", ".gitignore").into()
}

fn embedded<E: RustEmbed>(below: &str) -> Vec<File> {
    E::iter().filter_map(|path| Some(File { path: format!("{below}{path}").into(), content: text(E::get(&path)?) })).collect()
}

fn text(file: rust_embed::EmbeddedFile) -> String {
    String::from_utf8_lossy(&file.data).into_owned()
}

/// The guest crate, with the contract where the project has it.
fn guest() -> Result<Vec<File>, String> {
    let mut files = embedded::<GuestSources>("twill-guest/src/");
    for file in &mut files {
        file.content = file.content.replace("../../wit/", "../wit/");
    }
    files.push(File { path: "twill-guest/Cargo.toml".into(), content: standalone(GUEST_MANIFEST, WORKSPACE_MANIFEST)? });
    files.push(File { path: "twill-guest/LICENSE".into(), content: LICENCE.into() });
    Ok(files)
}

/// A manifest with the values that it inherits from its workspace; what only its own tests and lints need is left out.
fn standalone(manifest: &str, workspace: &str) -> Result<String, String> {
    let read = |text: &str| text.parse::<Table>().map_err(|error| format!("a manifest in this binary is broken: {error}"));
    let (mut manifest, root) = (read(manifest)?, read(workspace)?);
    let inherited =
        |section: &str| root.get("workspace").and_then(|root| root.get(section)).and_then(Value::as_table).cloned().unwrap_or_default();
    for (section, values) in [("package", inherited("package")), ("dependencies", inherited("dependencies"))] {
        let Some(Value::Table(own)) = manifest.get_mut(section) else { continue };
        for (key, value) in own.iter_mut() {
            if value.get("workspace").is_some() {
                *value = values.get(key).cloned().ok_or_else(|| format!("{section}.{key} is inherited from nowhere"))?;
            }
        }
    }
    manifest.remove("lints");
    manifest.remove("dev-dependencies");
    toml::to_string(&manifest).map_err(|error| format!("a manifest in this binary cannot be written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(language: Language, kind: Kind) -> Vec<String> {
        files(language, kind, "x").expect("files").iter().map(|file| file.path.display().to_string()).collect()
    }

    #[test]
    fn a_project_holds_all_that_it_needs() {
        for (language, kind, wanted) in [
            (Language::Rust, Kind::Store, &["Cargo.toml", "src/document.rs", "twill-guest/src/store.rs"][..]),
            (
                Language::Rust,
                Kind::Backend,
                &["Cargo.toml", "src/lib.rs", "twill-guest/Cargo.toml", "twill-guest/src/lib.rs", "twill-guest/LICENSE"][..],
            ),
            (Language::Python, Kind::Backend, &["app.py", "test_app.py", "requirements.txt"]),
            (Language::Js, Kind::Backend, &["app.js", "app.test.js", "package.json", "package-lock.json"]),
        ] {
            let paths = paths(language, kind);
            for path in wanted.iter().chain(&["README.md", "Makefile", ".gitignore", "wit/0.1.0/plugin.wit", "wit/0.1.0/backend.wit"]) {
                assert!(paths.iter().any(|there| there == path), "{language:?} lacks {path}: {paths:?}");
            }
        }
    }

    #[test]
    fn the_name_is_everywhere_and_nothing_else_is_left_to_fill_in() {
        let backends = [Language::Rust, Language::Python, Language::Js].map(|language| (language, Kind::Backend));
        for (language, kind) in backends.into_iter().chain([(Language::Rust, Kind::Store)]) {
            let files = files(language, kind, "some-name").expect("files");
            assert!(files.iter().any(|file| file.content.contains("some-name")));
            assert!(files.iter().all(|file| !file.content.contains("@name@")), "{language:?}");
        }
    }

    #[test]
    fn the_guest_crate_stands_alone() {
        let all = guest().expect("the guest crate");
        let manifest = all.iter().find(|file| file.path.ends_with("Cargo.toml")).expect("a manifest");
        let read: Table = manifest.content.parse().expect("TOML");
        assert!(!manifest.content.contains("workspace"), "{}", manifest.content);
        assert_eq!(read["package"]["version"].as_str(), Some(env!("CARGO_PKG_VERSION")));
        assert!(read["dependencies"]["wit-bindgen"]["version"].is_str(), "{}", manifest.content);
        assert!(all.iter().all(|file| !file.content.contains("\"../../wit")), "a path leads out of the project");
    }
}
