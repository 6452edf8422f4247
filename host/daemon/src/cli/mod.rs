//! The command line: one file a subcommand. The commands that look at a running daemon speak to its API and know nothing of its insides.

mod backend;
mod bundle;
mod client;
mod completions;
mod config;
mod docker_opts;
mod doctor;
mod down;
mod drain;
mod events;
mod explain;
mod flanneld;
mod logs;
mod plan;
mod plugin;
mod reconcile;
mod release;
mod reserve;
mod run;
mod show;
mod table;
mod telling;
mod tunnels;
mod why;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use self::show::{Show, What};
use crate::exit::Exit;
use crate::settings;

/// twill joins the containers of many hosts into one network.
///
/// Every host runs `twill run`. It takes a subnet that no other host has, writes it to /run/flannel/subnet.env for Docker or CNI, and
/// carries the containers' traffic between the hosts.
#[derive(Debug, Parser)]
#[command(
    name = "twill",
    version,
    max_term_width = 110,
    after_help = "\
First steps, with all hosts sharing a directory:
  twill config set --store file --store-dir /srv/twill '{\"Network\": \"10.244.0.0/16\"}'
  twill run --store file --store-dir /srv/twill        (on every host, as root)
  twill leases"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Run>),
    Config(Box<config::Config>),
    Backend(backend::Backend),
    Plan(Box<plan::Plan>),
    /// Say how this node is, in words.
    Status(Show),
    /// List all leases of the cluster: who has which subnet, and how it is reached from here.
    Leases(Show),
    Explain(explain::Explain),
    /// List the routes that twill keeps, desired against observed.
    Routes(Show),
    /// List every piece of network state that twill keeps, desired against observed.
    State(Show),
    /// List the plugins that were found, and how they fare.
    Plugins(Show),
    Plugin(plugin::Plugin),
    /// List all peers: how each is reached from here, and the traffic with it.
    Peers(Show),
    /// Show the tunnels of the udp backend: offloads in force, traffic, how many packets cross into the kernel at once, and drops.
    Tunnels(Show),
    Events(events::Events),
    Reconcile(reconcile::Reconcile),
    Why(why::Why),
    Doctor(Box<doctor::Doctor>),
    Bundle(Box<bundle::Bundle>),
    Replay(bundle::Replaying),
    Drain(drain::Drain),
    Release(release::Release),
    Reserve(Box<reserve::Reserve>),
    Unreserve(Box<reserve::Unreserve>),
    Down(down::Down),
    DockerOpts(docker_opts::DockerOpts),
    Completions(completions::Completions),
    Man(completions::Manual),
}

/// Runs the command that the arguments name.
///
/// # Errors
/// Whatever the command could not do, with its exit code.
pub fn main(arguments: Vec<OsString>) -> Result<(), Exit> {
    let Some(call) = flanneld::Call::of(&arguments) else {
        let file = settings::named_file(&arguments);
        return understood(Cli::command(), file, arguments)?.main(&[]);
    };
    let Some(translation) = call.translation()? else { return Ok(()) };
    let command = settings::with_defaults(Cli::command(), &translation.defaults);
    let arguments = ["twill", "run"].map(OsString::from).into_iter().chain(translation.arguments.iter().map(OsString::from));
    let command = understood(command, settings::named_file(&[]), arguments.collect())?;
    command.main(&flanneld::notes(&translation))
}

/// Whoever reads what a command prints, help too, may go away (`twill leases | head`): then it ends, without a word. The daemon outlives its readers.
fn end_with_the_reader() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: the kernel's own action is no handler of ours that could run at a wrong moment.
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
}

/// The command that the arguments name, with the settings file's values where they say nothing.
fn understood(command: clap::Command, file: Option<PathBuf>, arguments: Vec<OsString>) -> Result<Command, Exit> {
    let command = settings::with_file(command, file).map_err(Exit::usage)?;
    let matches = command.try_get_matches_from(arguments).map_err(|error| {
        // clap writes help and version to standard output and errors to standard error, where nobody may be left to read them.
        if error.use_stderr() {
            let _ = error.print();
            return Exit::silent(64);
        }
        end_with_the_reader();
        error.print().map_or_else(Exit::failed, |()| Exit::silent(0))
    })?;
    Cli::from_arg_matches(&matches).map(|cli| cli.command).map_err(Exit::usage)
}

impl Command {
    /// `notes` are told to the daemon's log.
    fn main(self, notes: &[String]) -> Result<(), Exit> {
        if !matches!(self, Command::Run(_)) {
            end_with_the_reader();
        }
        match self {
            Command::Run(run) => run.main(notes),
            Command::Config(config) => config.main(),
            Command::Backend(backend) => backend.main(),
            Command::Plan(plan) => plan.main(),
            Command::Status(show) => show.main(What::Status),
            Command::Leases(show) => show.main(What::Leases),
            Command::Explain(explain) => explain.main(),
            Command::Routes(show) => show.main(What::Routes),
            Command::State(show) => show.main(What::State),
            Command::Plugins(show) => show.main(What::Plugins),
            Command::Plugin(plugin) => plugin.main(),
            Command::Peers(show) => show.main(What::Peers),
            Command::Tunnels(show) => show.main(What::Tunnels),
            Command::Events(events) => events.main(),
            Command::Reconcile(reconcile) => reconcile.main(),
            Command::Why(why) => why.main(),
            Command::Doctor(doctor) => doctor.main(),
            Command::Bundle(bundle) => bundle.main(),
            Command::Replay(replaying) => replaying.main(),
            Command::Drain(drain) => drain.main(),
            Command::Completions(completions) => completions.main(Cli::command()),
            Command::Man(manual) => manual.main(Cli::command()),
            Command::Release(release) => release.main(),
            Command::Reserve(reserve) => reserve.main(),
            Command::Unreserve(unreserve) => unreserve.main(),
            Command::Down(down) => down.main(),
            Command::DockerOpts(options) => options.main(),
        }
    }
}

/// Runs a short command to its end on one thread.
fn wait_for<T>(work: impl Future<Output = Result<T, Exit>>) -> Result<T, Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Exit::failed)?;
    let answer = runtime.block_on(work);
    runtime.shutdown_background();
    answer
}
