//! Whole numbers that are too long for 64 bits: Python keeps them, so they must not be lost on the way.

/// Whether a JSON text has a whole number that 64 bits can't hold.
pub(crate) fn has_long_integer(text: &str) -> bool {
    let mut rest = text;
    while let Some(start) = rest.find(['"', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) {
        let token = &rest[start..];
        let length = if token.starts_with('"') { length_of_text(token) } else { length_of_number(token) };
        let (token, after) = token.split_at(length);
        let is_whole = !token.starts_with('"') && !token.contains(['.', 'e', 'E']);
        if is_whole && token.parse::<i64>().is_err() && token.parse::<u64>().is_err() {
            return true;
        }
        rest = after;
    }
    false
}

/// Quotes included.
fn length_of_text(token: &str) -> usize {
    let mut escaped = false;
    for (at, letter) in token.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    token.len()
}

fn length_of_number(token: &str) -> usize {
    let is_part = |letter: char| letter.is_ascii_digit() || matches!(letter, '-' | '+' | '.' | 'e' | 'E');
    token.find(|letter| !is_part(letter)).unwrap_or(token.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_numbers_beyond_64_bits_are_long() {
        let long = ["12345678901234567890123", "[1, -9223372036854775809]", "{\"a\\\"1\": 18446744073709551616}"];
        assert!(long.iter().all(|text| has_long_integer(text)));
        let short = [
            "",
            "1",
            "18446744073709551615",
            "1e400",
            "0.12345678901234567890123",
            "\"99999999999999999999\"",
            "{\"9\\\\\": -1}",
        ];
        for text in short {
            assert!(!has_long_integer(text), "{text}");
        }
    }
}
