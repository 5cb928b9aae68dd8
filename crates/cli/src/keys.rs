//! The rules for names that people choose (Airflow's `validate_key`).

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    #[error("The key: {key} has to be less than {max} characters")]
    Long { key: String, max: usize },
    #[error("The key {0:?} has to be made of alphanumeric characters, dashes, dots and underscores exclusively")]
    Letters(String),
    #[error("The key {0:?} must not contain consecutive dots ('..') to prevent path traversal")]
    DoubleDot(String),
}

/// Checks a name.
pub fn check_key(key: &str, max: usize) -> Result<(), KeyError> {
    let is_allowed = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.');
    if key.chars().count() > max {
        Err(KeyError::Long { key: key.to_owned(), max })
    } else if key.is_empty() || !key.chars().all(is_allowed) {
        Err(KeyError::Letters(key.to_owned()))
    } else if key.contains("..") {
        Err(KeyError::DoubleDot(key.to_owned()))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_digits_dashes_dots_and_underscores_make_a_key() {
        assert_eq!(check_key("my-conn_1.é", 200), Ok(()));
        assert_eq!(check_key("a b", 200), Err(KeyError::Letters("a b".into())));
        assert_eq!(check_key("", 200), Err(KeyError::Letters(String::new())));
        assert_eq!(check_key("a..b", 200), Err(KeyError::DoubleDot("a..b".into())));
        assert!(matches!(check_key(&"x".repeat(201), 200), Err(KeyError::Long { .. })));
    }
}
