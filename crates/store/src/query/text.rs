//! What texts must look like.

/// What a text must look like. `|` separates alternatives in both; `None` asks for nothing. A text that is missing
/// fulfils no filter that asks for something.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TextFilter {
    /// Must stand somewhere in the text, in any case; `%` and `_` are wild cards, and `\` takes their meaning from them.
    pub pattern: Option<String>,
    /// The text must begin like this, in the same case. What follows the last letter or digit is ignored, as in Airflow.
    pub prefix: Option<String>,
}

impl TextFilter {
    /// Whether a text is like that.
    pub fn matches(&self, text: Option<&str>) -> bool {
        like(text, self.pattern.as_deref()) && begins(text, self.prefix.as_deref())
    }
}

/// What [`TextFilter::pattern`] says.
pub(crate) fn like(text: Option<&str>, pattern: Option<&str>) -> bool {
    let Some(pattern) = pattern else { return true };
    let matches = |text: &str, pattern: &str| Pattern::new(&somewhere(pattern), Letters::AnyCase).matches(text);
    text.is_some_and(|text| alternatives(pattern).into_iter().any(|pattern| matches(text, pattern)))
}

/// What [`TextFilter::prefix`] says.
pub(crate) fn begins(text: Option<&str>, prefix: Option<&str>) -> bool {
    let Some(prefix) = prefix else { return true };
    text.is_some_and(|text| alternatives(prefix).into_iter().any(|prefix| text.starts_with(searched_prefix(prefix))))
}

/// The alternatives that `|` separates.
pub(crate) fn alternatives(text: &str) -> Vec<&str> {
    let parts: Vec<&str> = text.split('|').map(str::trim).filter(|part| !part.is_empty()).collect();
    if parts.is_empty() || !text.contains('|') { vec![text] } else { parts }
}

/// A prefix without what follows its last letter or digit; empty for one that matches everything.
pub(crate) fn searched_prefix(prefix: &str) -> &str {
    prefix.trim_end_matches(|letter: char| !letter.is_alphanumeric())
}

/// The pattern that finds a text anywhere.
pub(crate) fn somewhere(pattern: &str) -> String {
    format!("%{pattern}%")
}

/// The pattern that stands for the text itself.
pub(crate) fn literally(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}

/// Whether capital and small letters are the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Letters {
    AnyCase,
    Exact,
}

/// A pattern of SQL's `LIKE` with `\` as its escape, ready to be held against many texts.
pub(crate) struct Pattern {
    parts: Vec<Part>,
    letters: Letters,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Any text, or none.
    Any,
    One,
    Letter(char),
}

impl Pattern {
    pub(crate) fn new(pattern: &str, letters: Letters) -> Self {
        let mut parts = Vec::with_capacity(pattern.len());
        let mut rest = pattern.chars();
        while let Some(letter) = rest.next() {
            parts.push(match letter {
                // Airflow's databases take several in a row for one; so one is enough.
                '%' if parts.last() == Some(&Part::Any) => continue,
                '%' => Part::Any,
                '_' => Part::One,
                '\\' => Part::Letter(letters.fold(rest.next().unwrap_or('\\'))),
                letter => Part::Letter(letters.fold(letter)),
            });
        }
        Self { parts, letters }
    }

    /// Goes back no further than the last `%`, so that no pattern takes more than its length times the text's.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let mut text = text.chars();
        let mut at = 0;
        let mut last_any: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            let part = self.parts.get(at);
            let mut rest = text.clone();
            match part {
                None if text.as_str().is_empty() => return true,
                Some(Part::Any) if at + 1 == self.parts.len() => return true,
                Some(Part::Any) => {
                    at += 1;
                    last_any = Some((at, text.clone()));
                    continue;
                }
                Some(part) if rest.next().is_some_and(|letter| self.fits(*part, letter)) => {
                    at += 1;
                    text = rest;
                    continue;
                }
                None | Some(_) => {}
            }
            // It does not go on here: the last `%` takes one letter more.
            let Some((after, start)) = &mut last_any else { return false };
            if start.next().is_none() {
                return false;
            }
            at = *after;
            text = start.clone();
        }
    }

    fn fits(&self, part: Part, letter: char) -> bool {
        match part {
            Part::Letter(wanted) => self.letters.fold(letter) == wanted,
            Part::Any | Part::One => true,
        }
    }
}

impl Letters {
    fn fold(self, letter: char) -> char {
        match self {
            Letters::Exact => letter,
            Letters::AnyCase if letter.is_ascii() => letter.to_ascii_lowercase(),
            // The Kelvin sign is no k.
            Letters::AnyCase => letter.to_lowercase().next().filter(|small| !small.is_ascii()).unwrap_or(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_like_does() {
        let table = [
            ("abc", "b", true),
            ("abc", "B", true),
            ("abc", "", true),
            ("", "", true),
            ("", "a", false),
            ("abc", "a_c", true),
            ("abc", "a__c", false),
            ("abc", "a%c", true),
            ("acbc", "a%b%c", true),
            ("abab", "ab%ab%ab", false),
            ("a%c", r"\%", true),
            ("abc", r"\%", false),
            ("a_c", r"a\_c", true),
            ("abc", r"a\_c", false),
            (r"a\c", r"\\", true),
            ("abc", r"\b", true),
            // The escape at the end takes the meaning from the `%` that stands behind every pattern.
            ("abc%", "c\\", true),
            ("abc", "c\\", false),
            ("Straße ÄÖ", "äö", true),
            ("Straße", "STRASSE", false),
            ("3 \u{212a}", "k", false),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "%a%a%a%a%a%a%a%a%a%a%a%a%a%a%b", false),
        ];
        for (text, pattern, expected) in table {
            let found = Pattern::new(&somewhere(pattern), Letters::AnyCase).matches(text);
            assert_eq!(found, expected, "{pattern:?} in {text:?}");
        }
        assert!(!Pattern::new("%B%", Letters::Exact).matches("abc"));
        assert!(Pattern::new("abc", Letters::Exact).matches("abc"));
        assert!(!Pattern::new("ab", Letters::Exact).matches("abc"));
    }

    #[test]
    fn a_literal_text_has_no_wild_cards() {
        let finds = |text: &str, part: &str| Pattern::new(&somewhere(&literally(part)), Letters::AnyCase).matches(text);
        assert!(finds(r"100%_\ Sure", r"00%_\ s"));
        assert!(!finds("100", "1%"));
        assert!(!finds("100", "1_0"));
    }

    #[test]
    fn alternatives_stand_between_bars() {
        assert_eq!(alternatives("a | b|"), ["a", "b"]);
        assert_eq!(alternatives(" a "), [" a "], "without a bar nothing is trimmed");
        assert_eq!(alternatives("|"), ["|"]);
        assert_eq!(alternatives(""), [""]);
    }

    #[test]
    fn prefixes_end_with_a_letter_or_digit() {
        assert_eq!(searched_prefix("test_"), "test");
        assert_eq!(searched_prefix("a.b__9"), "a.b__9");
        assert_eq!(searched_prefix("__"), "");
        assert_eq!(searched_prefix("ü-"), "ü");
    }
}
