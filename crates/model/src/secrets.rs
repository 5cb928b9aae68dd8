//! What is a secret by its name, as Airflow has it (`DEFAULT_SENSITIVE_FIELDS`).

/// What stands in a secret's place.
pub const MASK: &str = "***";

/// Names whose values are secrets: those that one of these stands in.
pub const SENSITIVE_NAMES: [&str; 21] = [
    "access_key",
    "access_token",
    "api_key",
    "apikey",
    "auth_header",
    "authorization",
    "bearer",
    "connection_string",
    "dsn",
    "keyfile_dict",
    "passphrase",
    "passwd",
    "password",
    "private_key",
    "proxies",
    "proxy",
    "secret",
    "service_account",
    "service_key",
    "token",
    "webhook_url",
];

/// Lower case, with one `_` for every run of letters that can't stand in a word: `Api-Key` is `api_key`.
pub fn normalized(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut between = false;
    for letter in name.trim().to_lowercase().chars() {
        if letter.is_alphanumeric() || letter == '_' {
            out.push(letter);
            between = false;
        } else if !between {
            out.push('_');
            between = true;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_however_they_are_written() {
        let cases = [
            (" Api-Key ", "api_key"),
            ("api -- key", "api_key"),
            ("webhook.url", "webhook_url"),
            ("api__key", "api__key"),
            ("", ""),
        ];
        for (name, expected) in cases {
            assert_eq!(normalized(name), expected, "{name}");
        }
    }
}
