//! `twill plugin build`: a Rust project to a component.

use std::path::PathBuf;

use clap::Args;

use crate::exit::Exit;

/// Build a plugin that is written in Rust: cargo makes a module, and this command a component of it.
///
/// Takes every package of the project with a table `[package.metadata.twill]`. Needs Rust with the target wasm32-unknown-unknown (`rustup target add`, tried by itself), or Debian's
/// packages rustc-web, cargo-web, rust-web-src and lld.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twill plugin build
  twill plugin build my-backend --out /etc/twill/plugins")]
pub struct Build {
    /// The project's folder.
    #[arg(value_name = "DIR", default_value = ".")]
    project: PathBuf,
    /// Folder to leave the component in [default: the project's].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Build {
    /// Builds.
    pub fn main(self) -> Result<(), Exit> {
        if !self.project.join("Cargo.toml").is_file() {
            let folder = self.project.display();
            return Err(Exit::usage(format!(
                "there is no Cargo.toml in {folder}: this command builds Rust; projects in other languages have a Makefile (make build)"
            )));
        }
        let out = self.out.as_ref().unwrap_or(&self.project);
        let built = twill_componentize::build(&self.project, Some(out), std::slice::from_ref(&self.project));
        built.map(drop).map_err(|error| Exit::failed(format!("{error:#}")))
    }
}
