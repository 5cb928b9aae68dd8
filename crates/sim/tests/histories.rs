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
