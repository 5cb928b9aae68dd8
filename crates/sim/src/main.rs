//! `cargo run -p sim -- SEED` replays one history and prints it; `--count N [--from SEED]` lives many,
//! and `--coverage N` says what happened in so many.
#![allow(clippy::print_stdout, reason = "a program that prints")]

use std::process::ExitCode;

const USAGE: &str = "usage: sim SEED | sim --count N [--from SEED] | sim --coverage [N]";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--count", count] => many(count.parse().ok(), Some(0)),
        ["--count", count, "--from", first] => many(count.parse().ok(), first.parse().ok()),
        ["--coverage"] => coverage(Some(500)),
        ["--coverage", count] => coverage(count.parse().ok()),
        [seed] => match seed.parse() {
            Ok(seed) => one(seed),
            Err(_) => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn one(seed: u64) -> ExitCode {
    let mut world = sim::World::new(seed, true);
    let result = world.run();
    for line in world.trace() {
        println!("{line}");
    }
    match result {
        Ok(()) => {
            println!("seed {seed}: all is well");
            ExitCode::SUCCESS
        }
        Err(sim::Violation(what)) => {
            println!("seed {seed}: VIOLATION: {what}");
            ExitCode::FAILURE
        }
    }
}

fn many(count: Option<u64>, first: Option<u64>) -> ExitCode {
    let (Some(count), Some(first)) = (count, first) else { return usage() };
    let mut violations = 0;
    for seed in first..first + count {
        if let Err(sim::Violation(what)) = sim::run(seed) {
            println!("seed {seed}: VIOLATION: {what}");
            println!("  replay: cargo run -p sim -- {seed}");
            violations += 1;
        }
    }
    println!("{count} histories from seed {first}: {violations} violations");
    if violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn coverage(count: Option<u64>) -> ExitCode {
    let Some(count) = count else { return usage() };
    let mut coverage = sim::Coverage::default();
    for seed in 0..count {
        if let Err(sim::Violation(what)) = sim::count(seed, &mut coverage) {
            println!("seed {seed}: VIOLATION: {what}");
        }
    }
    print!("{}", coverage.table());
    let missing = coverage.missing();
    missing.iter().for_each(|kind| println!("never in {count} histories: {kind}"));
    if missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
