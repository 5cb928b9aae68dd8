//! Replays the transcripts in `tests/schedules`. `UPDATE_SCHEDULES=1` writes them anew; read the difference.

use std::path::PathBuf;

use crate::text::play;

#[test]
fn every_transcript_reads_as_it_plays() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schedules"));
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 15, "{} transcripts", files.len());
    let mut differing = Vec::new();
    for file in files {
        let before = std::fs::read_to_string(&file).unwrap();
        let after = play(&before);
        if before != after {
            if std::env::var_os("UPDATE_SCHEDULES").is_some() {
                std::fs::write(&file, &after).unwrap();
            }
            let line = before.lines().zip(after.lines()).take_while(|(before, after)| before == after).count();
            let name = file.file_name().unwrap().display();
            differing.push(format!(
                "{name}:{}\n   is {}\n  was {}",
                line + 1,
                after.lines().nth(line).unwrap_or("(nothing)"),
                before.lines().nth(line).unwrap_or("(nothing)"),
            ));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}
