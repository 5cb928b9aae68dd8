//! Task logs, as people read them.

use serde_json::Value;

/// The lines that a line of a log file shows.
pub fn shown(line: &str) -> Vec<String> {
    let Ok(entry) = serde_json::from_str::<Value>(line) else { return Vec::new() };
    let event = entry["event"].as_str().unwrap_or_default();
    let mut lines = Vec::new();
    // Marks between which viewers fold.
    if !event.starts_with("::group::") && !event.starts_with("::endgroup::") {
        lines.push(event.to_owned());
    }
    for error in entry["error_detail"].as_array().into_iter().flatten() {
        for frame in error["frames"].as_array().into_iter().flatten() {
            let (file, number, name) = (&frame["filename"], &frame["lineno"], &frame["name"]);
            lines.push(format!("  {}:{number} in {}", file.as_str().unwrap_or("?"), name.as_str().unwrap_or("?")));
        }
        let (kind, value) = (error["exc_type"].as_str(), error["exc_value"].as_str());
        lines.push(format!("  {}: {}", kind.unwrap_or("error"), value.unwrap_or_default()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_their_places_and_marks_are_left_out() {
        let frame = r#"{"filename": "/d/x.py", "lineno": 3, "name": "f"}"#;
        let line = format!(
            r#"{{"event": "Task failed", "error_detail": [{{"exc_type": "ValueError", "exc_value": "no", "frames": [{frame}]}}]}}"#
        );
        assert_eq!(shown(&line), ["Task failed", "  /d/x.py:3 in f", "  ValueError: no"]);
        assert!(shown(r#"{"event": "::group::Pre Execute"}"#).is_empty());
        assert!(shown("half a li").is_empty());
    }
}
