//! `twill plugin new`: a project that builds, tests and runs, for a backend or a store of one's own.

use std::path::{Path, PathBuf};

use clap::Args;

use super::template::{File, Kind, Language, files};
use crate::exit::Exit;

/// Start a plugin of your own: write a project that builds, tests and runs.
///
/// The project holds all that it needs, the contract and (for Rust) the guest crate included; it depends on neither a checkout of twill nor a registry of twill's. What it contains
/// works as it is: a backend of plain routes to peers on the same link, or a store in one file of a directory.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twill plugin new --lang rust my-backend && cd my-backend && cargo test && twill plugin build
  twill plugin new --lang python my-backend && cd my-backend && make test build
  twill plugin new --lang js my-backend && cd my-backend && make test build
  twill plugin new --lang rust --kind store my-store")]
pub struct New {
    /// The language.
    #[arg(long, value_enum)]
    lang: Language,
    /// What it is to be. Stores have a template in Rust.
    #[arg(long, value_enum, default_value = "backend")]
    kind: Kind,
    /// Name of the plugin, and of the folder that is made for it; the backend's type in network configs.
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
    /// Folder to make it in [default: this one].
    #[arg(long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    dir: PathBuf,
}

impl New {
    /// Writes the project; never over something that is there.
    pub fn main(self) -> Result<(), Exit> {
        let project = if self.dir == Path::new(".") { PathBuf::from(&self.name) } else { self.dir.join(&self.name) };
        let files = files(self.lang, self.kind, &self.name).map_err(Exit::usage)?;
        let taken = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Exit::usage(format!("{} is there already: choose another name, or another folder with --dir", project.display()))
            }
            _ => Exit::failed(format!("cannot make {}: {error}", project.display())),
        };
        std::fs::create_dir_all(&self.dir).and_then(|()| std::fs::create_dir(&project)).map_err(taken)?;
        for file in files {
            write(&project, &file)
                .map_err(|error| Exit::failed(format!("cannot write {}: {error}", project.join(&file.path).display())))?;
        }
        println!("{} is made. What to do next:", project.display());
        print!("{}", next(self.lang, self.kind, &project, &self.name));
        Ok(())
    }
}

fn write(project: &Path, file: &File) -> std::io::Result<()> {
    let path = project.join(&file.path);
    std::fs::create_dir_all(path.parent().unwrap_or(project))?;
    std::fs::write(path, &file.content)
}

fn next(language: Language, kind: Kind, project: &Path, name: &str) -> String {
    let (test, build) = match language {
        Language::Rust => ("cargo test", "twill plugin build"),
        Language::Python | Language::Js => ("make test", "make build"),
    };
    let mut lines = vec![format!("cd {}", project.display()), test.into(), build.into()];
    if kind == Kind::Backend {
        lines.push(format!("twill plugin try {name}.wasm"));
    }
    lines.push(format!("twill plugin check {name}.wasm"));
    lines.iter().map(|line| format!("  {line}\n")).collect()
}

/// A name that is one for the contract, for cargo and for npm.
fn name(text: &str) -> Result<String, String> {
    let fits = (1..=32).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && !text.ends_with('-');
    if !fits {
        return Err("a name is 1 to 32 of a-z, 0-9 and -, and begins with a letter".into());
    }
    for world in ["backend-", "store-"] {
        if text.starts_with(world) {
            return Err(format!("leave \"{world}\" away: it is a part of every such plugin's name"));
        }
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_suit_all_tools() {
        for good in ["a", "my-backend", "x2"] {
            assert_eq!(name(good), Ok(good.into()));
        }
        for bad in ["", "2x", "My", "a_b", "a-", "-a", "backend-x", "store-x", "a/b", "a.b", &"a".repeat(33)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
