//! What Python's `json` says of a text that is no JSON, and where.

/// The position in characters, and Python's message.
pub(crate) fn json_error(text: &str) -> (usize, &'static str) {
    let mut scanner = Scanner { letters: text.chars().collect(), at: 0 };
    scanner.skip_blanks();
    match scanner.value(0) {
        Err(error) => error,
        Ok(()) => {
            scanner.skip_blanks();
            (scanner.at, "Extra data")
        }
    }
}

type Fallible = Result<(), (usize, &'static str)>;

/// Nesting beyond this is refused by the real parser; the message does not matter then.
const MAX_DEPTH: usize = 200;

struct Scanner {
    letters: Vec<char>,
    at: usize,
}

impl Scanner {
    fn peek(&self) -> Option<char> {
        self.letters.get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Fallible {
        let start = self.at;
        match self.peek() {
            Some('"') => self.string(),
            Some('{') if depth < MAX_DEPTH => self.object(depth),
            Some('[') if depth < MAX_DEPTH => self.array(depth),
            Some('-' | '0'..='9') => self.number(),
            _ => {
                let word = ["null", "true", "false"].into_iter().find(|word| self.begins_with(word));
                let word = word.ok_or((start, "Expecting value"))?;
                self.at += word.len();
                Ok(())
            }
        }
    }

    fn begins_with(&self, word: &str) -> bool {
        word.chars().enumerate().all(|(index, letter)| self.letters.get(self.at + index) == Some(&letter))
    }

    fn number(&mut self) -> Fallible {
        let start = self.at;
        if self.peek() == Some('-') {
            self.at += 1;
        }
        match self.peek() {
            Some('0') => self.at += 1,
            Some('1'..='9') => self.digits(),
            _ => return Err((start, "Expecting value")),
        }
        if self.peek() == Some('.') && self.letters.get(self.at + 1).is_some_and(char::is_ascii_digit) {
            self.at += 1;
            self.digits();
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            let sign = usize::from(matches!(self.letters.get(self.at + 1), Some('+' | '-')));
            if self.letters.get(self.at + 1 + sign).is_some_and(char::is_ascii_digit) {
                self.at += 1 + sign;
                self.digits();
            }
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|letter| letter.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn string(&mut self) -> Fallible {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                None => return Err((start, "Unterminated string starting at")),
                Some('"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some('\\') => {
                    let escape = self.at;
                    match self.letters.get(self.at + 1) {
                        None => return Err((start, "Unterminated string starting at")),
                        Some('u') => {
                            let hex = (2..6)
                                .all(|index| self.letters.get(escape + index).is_some_and(char::is_ascii_hexdigit));
                            if !hex {
                                return Err((escape + 1, "Invalid \\uXXXX escape"));
                            }
                            self.at += 6;
                        }
                        Some('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => self.at += 2,
                        Some(_) => return Err((escape, "Invalid \\escape")),
                    }
                }
                Some(letter) if (letter as u32) < 0x20 => return Err((self.at, "Invalid control character at")),
                Some(_) => self.at += 1,
            }
        }
    }

    fn array(&mut self, depth: usize) -> Fallible {
        self.at += 1;
        self.skip_blanks();
        if self.peek() == Some(']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            self.skip_blanks();
            match self.peek() {
                Some(']') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(',') => {
                    self.at += 1;
                    self.skip_blanks();
                }
                _ => return Err((self.at, "Expecting ',' delimiter")),
            }
        }
    }

    fn object(&mut self, depth: usize) -> Fallible {
        const NAME: &str = "Expecting property name enclosed in double quotes";
        self.at += 1;
        self.skip_blanks();
        if self.peek() == Some('}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            if self.peek() != Some('"') {
                return Err((self.at, NAME));
            }
            self.string()?;
            self.skip_blanks();
            if self.peek() != Some(':') {
                return Err((self.at, "Expecting ':' delimiter"));
            }
            self.at += 1;
            self.skip_blanks();
            self.value(depth + 1)?;
            self.skip_blanks();
            match self.peek() {
                Some('}') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(',') => {
                    self.at += 1;
                    self.skip_blanks();
                }
                _ => return Err((self.at, "Expecting ',' delimiter")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::json_error;

    #[test]
    fn the_words_are_those_of_python() {
        // As `json.loads` of Python 3.11 raises them.
        let cases = [
            ("", 0, "Expecting value"),
            ("{", 1, "Expecting property name enclosed in double quotes"),
            ("{\"a\" 1}", 5, "Expecting ':' delimiter"),
            ("{\"a\": }", 6, "Expecting value"),
            ("{\"a\": 1 \"b\"}", 8, "Expecting ',' delimiter"),
            ("{\"a\": 1,}", 8, "Expecting property name enclosed in double quotes"),
            ("[1, ]", 4, "Expecting value"),
            ("[1 2]", 3, "Expecting ',' delimiter"),
            ("\"abc", 0, "Unterminated string starting at"),
            ("\"a\nb\"", 2, "Invalid control character at"),
            ("\"\\x\"", 1, "Invalid \\escape"),
            ("1 x", 2, "Extra data"),
            ("nul", 0, "Expecting value"),
            ("{'a': 1}", 1, "Expecting property name enclosed in double quotes"),
        ];
        for (text, at, message) in cases {
            assert_eq!(json_error(text), (at, message), "{text}");
        }
    }
}
