//! Encryption at rest, in the form that Airflow uses: Fernet tokens under the keys of `[core] fernet_key`.

use std::fmt;
use std::sync::Arc;

use fernet::{Fernet, MultiFernet};

/// The keys of a deployment. The first one encrypts, all of them decrypt; without any, texts are kept as they are.
#[derive(Clone, Default)]
pub struct FernetKeys(Option<Arc<MultiFernet>>);

/// A text that is no list of Fernet keys.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "key {number} of {count} is not a Fernet key (32 bytes in URL-safe base64, 44 characters, several keys separated by \
     commas); `openssl rand -base64 32 | tr +/ -_` makes one"
)]
pub struct BadFernetKey {
    pub number: usize,
    pub count: usize,
}

impl FernetKeys {
    /// Reads `fernet_key` as Airflow does: keys separated by commas, the newest first. `also` are keys that only decrypt.
    pub fn parse(text: &str, also: Option<&str>) -> Result<Self, BadFernetKey> {
        let texts: Vec<&str> = text.split(',').chain(also.into_iter().flat_map(|also| also.split(','))).collect();
        let count = texts.len();
        let key =
            |(index, text): (usize, &&str)| Fernet::new(text.trim()).ok_or(BadFernetKey { number: index + 1, count });
        let keys = texts.iter().enumerate().map(key).collect::<Result<Vec<_>, _>>()?;
        Ok(Self(Some(Arc::new(MultiFernet::new(keys)))))
    }

    /// A new key, as text.
    pub fn generate() -> String {
        Fernet::generate_key()
    }

    pub(crate) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// What is to be stored of a text, and whether it is encrypted.
    pub(crate) fn seal(&self, text: &str) -> (String, bool) {
        match &self.0 {
            Some(keys) => (keys.encrypt(text.as_bytes()), true),
            None => (text.to_owned(), false),
        }
    }

    /// The text behind what is stored; `None` if none of the keys fits.
    pub(crate) fn open(&self, stored: String, is_encrypted: bool) -> Option<String> {
        if !is_encrypted {
            return Some(stored);
        }
        String::from_utf8(self.0.as_ref()?.decrypt(&stored).ok()?).ok()
    }
}

impl fmt::Debug for FernetKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_none() { "FernetKeys(none)" } else { "FernetKeys(..)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the `cryptography` package makes of this text at second 499162800 with the bytes 0 to 15 as initial vector.
    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const TOKEN: &str =
        "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0OD4_9EBVfNSDZ7XtRxaHNdkW99QsUAt9pmRctkSzQxwX8ezo1JYkB0XAhlhuGaD6Beg==";

    #[test]
    fn tokens_of_python_are_read() {
        let keys = FernetKeys::parse(KEY, None).unwrap();
        assert_eq!(keys.open(TOKEN.into(), true).as_deref(), Some("hello"));
    }

    #[test]
    fn the_first_key_encrypts_and_all_decrypt() {
        let (old, new) = (FernetKeys::generate(), FernetKeys::generate());
        let sealed = FernetKeys::parse(&old, None).unwrap().seal("a secret").0;
        assert_eq!(
            FernetKeys::parse(&format!("{new}, {old}"), None).unwrap().open(sealed.clone(), true).as_deref(),
            Some("a secret")
        );
        assert_eq!(
            FernetKeys::parse(&new, Some(&old)).unwrap().open(sealed.clone(), true).as_deref(),
            Some("a secret")
        );
        let only_new = FernetKeys::parse(&new, None).unwrap();
        assert_eq!(only_new.open(sealed.clone(), true), None);
        assert_eq!(FernetKeys::default().open(sealed, true), None);
        let both = FernetKeys::parse(&format!("{new},{old}"), None).unwrap();
        assert_eq!(only_new.open(both.seal("x").0, true).as_deref(), Some("x"));
    }

    #[test]
    fn a_text_that_is_no_key_is_refused_with_its_place() {
        let good = FernetKeys::generate();
        for (text, number) in [("", 1), ("abc", 1), (&*format!("{good},"), 2), (&*format!("{good},{good}x"), 2)] {
            let error = FernetKeys::parse(text, None).unwrap_err();
            assert_eq!(error.number, number, "{text:?}");
        }
    }
}
