//! What goes to the standard output: the data that was asked for, and nothing else. Everything else is said on stderr.

use std::io::{self, ErrorKind, Write};

use anyhow::{Context, Result};

/// Says something to people, on stderr. Nothing fails because nobody listens.
macro_rules! say {
    ($($text:tt)*) => { $crate::output::say(format_args!($($text)*)) };
}

pub fn say(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Writes to the standard output. A reader that has gone away, such as `head`, has seen enough.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("the output can't be written"),
        _ => Ok(()),
    }
}

/// As [`print`], with an end of line.
pub fn print_line(text: &str) -> Result<()> {
    print(&format!("{text}\n"))
}

/// Asks for a yes or no. No answer is a no.
pub fn confirm(question: &str) -> Result<bool> {
    let _ = write!(io::stderr(), "{question} [y/n] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("the answer can't be read; --yes answers beforehand")?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
