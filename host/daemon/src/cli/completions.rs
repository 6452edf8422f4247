//! `twill completions` and `twill man`: made from the command line's own description, so that they cannot fall behind it.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Command, ValueEnum};
use clap_complete::{Shell, generate};
use clap_mangen::Man;

use crate::exit::Exit;

/// A shell whose completions can be written.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Bash,
    Fish,
    Zsh,
}

/// Print completions for a shell.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twill completions bash > /usr/share/bash-completion/completions/twill
  twill completions zsh > /usr/share/zsh/site-functions/_twill
  twill completions fish > /usr/share/fish/vendor_completions.d/twill.fish")]
pub struct Completions {
    shell: Kind,
}

impl Completions {
    /// Prints them.
    pub fn main(self, mut command: Command) -> Result<(), Exit> {
        let shell = match self.shell {
            Kind::Bash => Shell::Bash,
            Kind::Fish => Shell::Fish,
            Kind::Zsh => Shell::Zsh,
        };
        let mut text = Vec::new();
        generate(shell, &mut command, "twill", &mut text);
        print(&text)
    }
}

/// Print the manual page of twill or of one of its commands, or write all of them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twill man | man -l -
  twill man run | man -l -
  twill man --dir /usr/share/man/man1")]
pub struct Manual {
    /// The command, such as run, or plugin reload; without it twill itself.
    command: Vec<String>,
    /// Write the pages of all commands into this folder instead.
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    dir: Option<PathBuf>,
}

impl Manual {
    /// Prints the page, or writes them all.
    pub fn main(self, command: Command) -> Result<(), Exit> {
        if let Some(dir) = &self.dir {
            std::fs::create_dir_all(dir)
                .and_then(|()| clap_mangen::generate_to(command, dir))
                .map_err(|error| Exit::failed(format!("cannot write manual pages to {}: {error}", dir.display())))?;
            return Ok(());
        }
        let mut text = Vec::new();
        let page = Man::new(self.find(command)?);
        page.render(&mut text).map_err(Exit::failed)?;
        print(&text)
    }

    fn find(&self, command: Command) -> Result<Command, Exit> {
        let mut name = command.get_name().to_owned();
        let mut found = command;
        for word in &self.command {
            let sub = found.find_subcommand(word).cloned();
            found = sub.ok_or_else(|| Exit::usage(format!("{name} has no command \"{word}\"; `{name} --help` lists them")))?;
            name = format!("{name}-{word}");
        }
        Ok(found.name(name))
    }
}

/// Writes to standard output; that its reader has gone is no failure.
fn print(text: &[u8]) -> Result<(), Exit> {
    match io::stdout().write_all(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Exit::failed(error)),
        _ => Ok(()),
    }
}
