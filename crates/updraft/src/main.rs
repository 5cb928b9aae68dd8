//! The binary: command line, configuration and wiring. What it does is done in the crates below it.
#![allow(clippy::print_stdout, reason = "a program that prints")]
#![allow(dead_code)]

mod args;
mod config;
mod dagtest;
mod home;
mod live;
mod python_env;
mod signals;
mod stack;
mod standalone;
mod web;
mod wiring;

use std::os::fd::AsFd;
use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command, DagsCommand};

/// The first argument of the process that owns the engine's children.
const HOST: &str = "__host";

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == HOST) {
        return host();
    }
    let args = Args::parse();
    start_logging(args.verbose);
    let result = match args.command {
        Command::Standalone(options) => standalone::run(options),
        Command::Dags(DagsCommand::Test(options)) => dagtest::run(options),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn host() -> ExitCode {
    let control = std::io::stdin().as_fd().try_clone_to_owned();
    match control.and_then(process::run_host) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the host of child processes failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start_logging(verbose: u8) {
    use tracing_subscriber::filter::{LevelFilter, Targets};
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    let level = match verbose {
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
