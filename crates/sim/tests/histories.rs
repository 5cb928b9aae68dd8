//! Every change must survive these histories.

/// Histories that every test run lives.
const COUNT: u64 = 2000;

#[test]
fn histories_with_faults_violate_nothing() {
    let violations: Vec<String> = (0..COUNT)
        .filter_map(|seed| {
            let sim::Violation(what) = sim::run(seed).err()?;
            Some(format!("seed {seed}: {what}\n  replay: cargo run -p sim -- {seed}"))
        })
        .collect();
    assert!(violations.is_empty(), "{} violations\n{}", violations.len(), violations.join("\n"));
}

/// Histories in which everything happens that the simulation is for.
const COUNTED: u64 = 600;

#[test]
fn everything_happens_in_a_few_hundred_histories() {
    let mut coverage = sim::Coverage::default();
    // Whether they are right another test says.
    (0..COUNTED).for_each(|seed| drop(sim::count(seed, &mut coverage)));
    assert_eq!(coverage.missing(), Vec::<String>::new(), "{}", coverage.table());
}
