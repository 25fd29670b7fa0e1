//! What names, display names and passwords may be. A value that passed is valid.

use api::{ApiError, ErrorCode};
use auth::Secret;

/// Characters of a name.
const NAME_CHARS: std::ops::RangeInclusive<usize> = 3..=32;
/// Characters of a display name, at most.
const DISPLAY_NAME_CHARS_MAX: usize = 64;
/// Characters of a password.
const PASSWORD_CHARS: std::ops::RangeInclusive<usize> = 8..=128;

/// The name in the form in which it is unique: lower case.
pub(crate) fn name(text: &str) -> Result<String, ApiError> {
    let name = text.to_ascii_lowercase();
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
    if NAME_CHARS.contains(&name.len()) && name.bytes().all(allowed) {
        Ok(name)
    } else {
        Err(invalid("a name has 3 to 32 characters of a-z, 0-9, '_', '.' and '-'"))
    }
}

/// The display name without spaces around it.
pub(crate) fn display_name(text: &str) -> Result<String, ApiError> {
    let name = text.trim();
    if !name.is_empty() && name.chars().count() <= DISPLAY_NAME_CHARS_MAX && !name.chars().any(char::is_control) {
        Ok(name.to_owned())
    } else {
        Err(invalid("a display name has 1 to 64 characters and no control characters"))
    }
}

/// Whether the password may be an account's.
pub(crate) fn new_password(password: &Secret) -> Result<(), ApiError> {
    if PASSWORD_CHARS.contains(&password.expose().chars().count()) {
        Ok(())
    } else {
        Err(invalid("a password has 8 to 128 characters"))
    }
}

fn invalid(words: &str) -> ApiError {
    ApiError::new(ErrorCode::Invalid, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lowered_and_checked() {
        assert_eq!(name("Ada.L-1_x").unwrap(), "ada.l-1_x");
        for wrong in ["", "ab", "ada lovelace", "ädä", "a/b", &"a".repeat(33)] {
            assert_eq!(name(wrong).unwrap_err().code, ErrorCode::Invalid, "{wrong}");
        }
    }

    #[test]
    fn display_names_are_trimmed_and_checked() {
        assert_eq!(display_name("  Ada Lovelace ").unwrap(), "Ada Lovelace");
        assert_eq!(display_name(&"ä".repeat(64)).unwrap().chars().count(), 64);
        for wrong in ["", "   ", "a\u{0}b", "a\nb", &"ä".repeat(65)] {
            assert_eq!(display_name(wrong).unwrap_err().code, ErrorCode::Invalid, "{wrong}");
        }
    }

    #[test]
    fn passwords_are_counted_in_characters() {
        let checked = |text: &str| new_password(&Secret::new(text)).is_ok();
        assert!(checked("ääääääää") && checked(&"a".repeat(128)));
        assert!(!checked("ääääääa") && !checked(&"a".repeat(129)));
    }
}
