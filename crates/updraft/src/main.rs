//! The binary: command line, configuration and wiring. What it does is done in the crates below it.

#[macro_use]
mod output;

mod accounts;
mod args;
mod asking;
mod bundle_list;
mod commands;
mod config;
mod dagtest;
mod folder;
mod home;
mod keys;
mod live;
mod local;
mod python_env;
mod remote;
mod signals;
mod stack;
mod standalone;
mod target;
mod tasklog;
mod tasktest;
mod token;
mod web;
mod wiring;

use std::os::fd::AsFd;
use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command, DagsCommand};
use commands::Usage;

/// The first argument of the process that owns the engine's children.
const HOST: &str = "__host";

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == HOST) {
        return host();
    }
    let args = Args::parse();
    start_logging(args.verbose, is_quiet(&args.command));
    match commands::run(args) {
        Ok(code) => code,
        Err(error) => {
            say!("error: {error:#}");
            if error.is::<Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

/// Commands that say themselves what went wrong, or show how things go.
fn is_quiet(command: &Command) -> bool {
    !matches!(command, Command::Standalone(_) | Command::Dags(DagsCommand::Reserialize(_)))
}

fn host() -> ExitCode {
    let control = std::io::stdin().as_fd().try_clone_to_owned();
    match control.and_then(process::run_host) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say!("the host of child processes failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start_logging(verbose: u8, quiet: bool) {
    use tracing_subscriber::filter::{LevelFilter, Targets};
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    let level = match verbose {
        0 if quiet => LevelFilter::WARN,
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let filter = std::env::var("UPDRAFT_LOG")
        .ok()
        .and_then(|text| text.parse::<Targets>().ok())
        .unwrap_or_else(|| Targets::new().with_default(level));
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(verbose > 0);
    tracing_subscriber::registry().with(layer).with(filter).init();
}
