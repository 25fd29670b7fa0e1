//! What names, display names and passwords may be. A value that passed is valid.

use api::{ApiError, check_label};
use domain::UserId;
use icu_normalizer::ComposingNormalizerBorrowed;
use protocol::ErrorCode;
use secret::Secret;

/// Characters of a name.
pub const NAME_CHARS: std::ops::RangeInclusive<usize> = 3..=32;
/// Characters of a display name, and of a session's label, at most.
pub const DISPLAY_NAME_CHARS_MAX: usize = 64;
/// Characters of a password.
pub const PASSWORD_CHARS: std::ops::RangeInclusive<usize> = 8..=128;

/// Users that one look-up asks for, at most.
pub const IDS_MAX: usize = 100;

/// The ids of a look-up, separated by commas.
pub(crate) fn ids(text: &str) -> Result<Vec<UserId>, ApiError> {
    let ids: Vec<&str> = text.split(',').collect();
    if ids.len() > IDS_MAX {
        return Err(invalid(&format!("{} ids are too many for one look-up: at most {IDS_MAX}", ids.len())));
    }
    let parse = |id: &str| id.parse().map_err(|_| invalid(&format!("'ids' has '{id}', which is no user's id")));
    ids.into_iter().map(parse).collect()
}

/// Common passwords of 8 characters and more, lower case, one a line. Drawn from what was published of leaked ones;
/// `12345678` and `abc12345` are taken all the same, because programs that try the server out use them.
const COMMON_PASSWORDS: &str = include_str!("common_passwords.txt");

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

/// The display name without spaces around it: one line that shows what it is.
pub(crate) fn display_name(text: &str) -> Result<String, ApiError> {
    let name = text.trim();
    if name.chars().count() > DISPLAY_NAME_CHARS_MAX {
        return Err(invalid("a display name has 1 to 64 characters"));
    }
    check_label(name).map_err(|fault| invalid(&format!("a display name {fault}")))?;
    Ok(name.to_owned())
}

/// A password as it was typed, and in the form that is hashed.
#[derive(Debug, Clone)]
pub(crate) struct Password {
    /// NFKC: what keyboards write in different code points is one password. RFC 8265 asks for NFC, which keeps apart
    /// what people cannot: full-width letters and ligatures.
    pub(crate) normal: Secret,
    /// Other than [`Self::normal`]: accounts from before passwords were normalised have the hash of these bytes.
    pub(crate) typed: Option<Secret>,
}

impl Password {
    pub(crate) fn new(typed: Secret) -> Self {
        let normal = ComposingNormalizerBorrowed::new_nfkc().normalize(typed.expose()).into_owned();
        let differs = normal != typed.expose();
        Self { normal: Secret::new(normal), typed: Some(typed).filter(|_| differs) }
    }
}

/// The password, if it may be an account's from now on.
pub(crate) fn new_password(password: Secret) -> Result<Password, ApiError> {
    let password = Password::new(password);
    let text = password.normal.expose();
    if !PASSWORD_CHARS.contains(&text.chars().count()) {
        return Err(invalid("a password has 8 to 128 characters"));
    }
    if is_common(text) {
        return Err(invalid("this password is one of the most common ones, which are tried first: choose another"));
    }
    Ok(password)
}

/// Whether it is one of the most commonly chosen passwords, whatever the case of its letters.
fn is_common(password: &str) -> bool {
    let password = password.to_lowercase();
    COMMON_PASSWORDS.lines().any(|line| line == password)
}

/// The name of a device in the list of sessions; empty when the device does not say.
pub(crate) fn label(text: Option<&str>) -> Result<String, ApiError> {
    let label = text.unwrap_or_default().trim();
    if label.chars().count() > DISPLAY_NAME_CHARS_MAX {
        return Err(invalid("a label has at most 64 characters"));
    }
    if !label.is_empty() {
        check_label(label).map_err(|fault| invalid(&format!("a label {fault}")))?;
    }
    Ok(label.to_owned())
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
        for wrong in ["", "   ", "a\u{0}b", "a\nb", "\u{202e}eciLA", "\u{200b}", "An\u{200b}n", &"ä".repeat(65)] {
            assert_eq!(display_name(wrong).unwrap_err().code, ErrorCode::Invalid, "{wrong}");
        }
    }

    #[test]
    fn a_look_up_names_one_to_a_hundred_ids() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        assert_eq!(ids(id).unwrap().len(), 1);
        assert_eq!(ids(&vec![id; IDS_MAX].join(",")).unwrap().len(), IDS_MAX);
        for wrong in ["", ",", "ann", &format!("{id},"), &vec![id; IDS_MAX + 1].join(",")] {
            assert_eq!(ids(wrong).unwrap_err().code, ErrorCode::Invalid, "{wrong}");
        }
    }

    #[test]
    fn passwords_are_counted_in_characters_and_common_ones_refused() {
        let checked = |text: &str| new_password(Secret::new(text)).is_ok();
        assert!(checked("ääääääää") && checked(&"a-".repeat(64)) && checked("correct horse"));
        assert!(!checked("ääääääa") && !checked(&"a-".repeat(65)));
        // Programs that try the server out register with these. Issue 10, item 11.
        assert!(checked("12345678") && checked("Ａｂｃ１２３４５"));
        for common in ["password", "PassWord1", "qwertyuiop", "123456789", "ｐａｓｓｗｏｒｄ"] {
            assert!(!checked(common), "{common}");
        }
        for line in COMMON_PASSWORDS.lines() {
            assert!(line.len() >= *PASSWORD_CHARS.start() && line == line.to_lowercase(), "{line}");
        }
    }

    #[test]
    fn what_looks_alike_is_one_password() {
        let normal = |text: &str| Password::new(Secret::new(text)).normal.expose().to_owned();
        assert_eq!(normal("Pa\u{308}sswo\u{308}rtchen"), "Pässwörtchen");
        assert_eq!(normal("ﬁligrane Ａｂｃ１"), "filigrane Abc1");
        assert!(Password::new(Secret::new("plain text")).typed.is_none());
        assert_eq!(Password::new(Secret::new("ﬁ")).typed.unwrap().expose(), "ﬁ");
    }
}
