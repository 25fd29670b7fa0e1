//! Which characters of a text are visible, and which a name or a title must not have.
//!
//! The tables are frozen under a version: the reducer judges events by them, today and at any replay, so they must
//! not follow newer versions of Unicode. Version 1 of the tables belongs to version 2 of the rules. Services check
//! more when they accept a name or a title (`api::check_label`); other producers need not.

mod version_1;

use version_1::{BLANK_1, MARKS_1};

/// The version of the tables. Changed tables get a new version, for a new version of the rules.
pub const WORDS_VERSION: u32 = 1;

/// Combining marks in a row on one character. Hebrew with vowel, point and accent has four; stacks of marks that
/// cover other lines have dozens.
pub const MARKS_IN_A_ROW_MAX: usize = 4;

/// Joins several emoji into one, and letters of many scripts.
const ZERO_WIDTH_JOINER: char = '\u{200D}';
/// Keeps letters of many scripts from joining.
const ZERO_WIDTH_NON_JOINER: char = '\u{200C}';
/// Variation selectors: show the character before them as text, or as an emoji.
const PRESENTATIONS: [char; 2] = ['\u{FE0E}', '\u{FE0F}'];
/// Begins the flags of England, Scotland and Wales; tag characters follow it.
const BLACK_FLAG: char = '\u{1F3F4}';
/// Tag characters: they spell the region of such a flag, and end it.
const TAGS: std::ops::RangeInclusive<char> = '\u{E0020}'..='\u{E007F}';

/// Why a text cannot be a name or a title.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelFault {
    /// It has no visible character.
    Blank,
    /// It has a control character or a line break.
    Control,
    /// It has an invisible character that joins nothing, or one that changes the direction of writing.
    Invisible,
    /// It has more than [`MARKS_IN_A_ROW_MAX`] marks on one character.
    Marks,
}

impl LabelFault {
    /// The fault in words, to follow the name of the field (`a title`).
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Blank => "needs at least one visible character",
            Self::Control => "cannot have control characters or line breaks",
            Self::Invisible => "cannot have invisible characters or ones that change the direction of writing",
            Self::Marks => "cannot have more than 4 combining marks in a row",
        }
    }
}

/// Whether the text has a visible character. A mark without a character to sit on is not visible.
#[must_use]
pub fn has_visible(text: &str) -> bool {
    text.chars().any(is_visible)
}

/// Whether the rules allow the text as a title: one line without misleading characters.
///
/// Invisible characters are allowed where languages and emoji need them: a joiner or non-joiner between two
/// visible characters, a variation selector after one, and the tags of a flag.
///
/// # Errors
/// The first fault found.
pub fn check_label(text: &str) -> Result<(), LabelFault> {
    if text.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        return Err(LabelFault::Control);
    }
    if !has_visible(text) {
        return Err(LabelFault::Blank);
    }
    let (mut before, mut marks) = (None, 0);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        marks = if is_mark(c) { marks + 1 } else { 0 };
        if marks > MARKS_IN_A_ROW_MAX {
            return Err(LabelFault::Marks);
        }
        if !is_plain(c) && !is_placed(before, c, chars.peek().copied()) {
            return Err(LabelFault::Invisible);
        }
        before = Some(c);
    }
    Ok(())
}

/// Whether the character is allowed anywhere in a label: it is visible, a mark, or a space.
fn is_plain(c: char) -> bool {
    !is_in(&BLANK_1, c) || (c.is_whitespace() && !c.is_control())
}

/// Whether an invisible character is at a position where it has a function.
fn is_placed(before: Option<char>, c: char, after: Option<char>) -> bool {
    let holds = |c: char| is_visible(c) || is_mark(c) || PRESENTATIONS.contains(&c);
    let (Some(before), holds_after) = (before, after.is_some_and(is_visible)) else { return false };
    match c {
        ZERO_WIDTH_JOINER | ZERO_WIDTH_NON_JOINER => holds(before) && holds_after,
        _ if PRESENTATIONS.contains(&c) => is_visible(before),
        _ if TAGS.contains(&c) => before == BLACK_FLAG || TAGS.contains(&before),
        _ => false,
    }
}

fn is_visible(c: char) -> bool {
    !is_in(&BLANK_1, c) && !is_mark(c)
}

fn is_mark(c: char) -> bool {
    !PRESENTATIONS.contains(&c) && is_in(&MARKS_1, c)
}

/// Whether one of the sorted ranges contains the character.
fn is_in(ranges: &[(u32, u32)], c: char) -> bool {
    let c = u32::from(c);
    let found = ranges.partition_point(|(_, last)| *last < c);
    ranges.get(found).is_some_and(|(first, _)| *first <= c)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    /// The tables must never change: this test fails when somebody edits them.
    #[test]
    fn the_tables_of_version_1_are_frozen() {
        let mut hash = Sha256::new();
        for (first, last) in BLANK_1.iter().chain(&MARKS_1) {
            assert!(first <= last);
            hash.update(first.to_be_bytes());
            hash.update(last.to_be_bytes());
        }
        for table in [&BLANK_1[..], &MARKS_1[..]] {
            assert!(table.windows(2).all(|pair| pair[0].1 < pair[1].0), "sorted, for the search");
        }
        let digest: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((WORDS_VERSION, digest.as_str()), (1, "3b854bf81f52793b"));
    }

    #[test]
    fn labels_show_what_they_are() {
        for good in [
            "Ann",
            "Ann Lee",
            "Zoë",
            "Zoe\u{308}",
            "👩‍👩‍👧‍👦 נועה",
            "❤\u{FE0F}",
            "🏴\u{E0067}\u{E0062}\u{E0065}\u{E006E}\u{E0067}\u{E007F}",
            "می\u{200C}خواهم",
            "क्\u{200D}ष",
            "שָׁ֣",
            "1\u{FE0F}\u{20E3}",
            "👍🏽",
            "日本\u{3000}語",
            "Nguye\u{302}\u{303}n",
        ] {
            assert_eq!(check_label(good), Ok(()), "{good:?}");
        }
        for (wrong, fault) in [
            ("", LabelFault::Blank),
            (" \u{A0}\u{3000}", LabelFault::Blank),
            ("\u{200B}", LabelFault::Blank),
            ("\u{3164}", LabelFault::Blank),
            ("\u{2800}", LabelFault::Blank),
            ("\u{AD}", LabelFault::Blank),
            ("\u{E0041}", LabelFault::Blank),
            ("\u{301}", LabelFault::Blank),
            ("a\nb", LabelFault::Control),
            ("a\0", LabelFault::Control),
            ("Ann\u{2028}x", LabelFault::Control),
            ("\u{202E}eciLA", LabelFault::Invisible),
            ("\u{2066}Ann", LabelFault::Invisible),
            ("Ann\u{200F}", LabelFault::Invisible),
            ("An\u{200B}n", LabelFault::Invisible),
            ("An\u{AD}n", LabelFault::Invisible),
            ("Ann\u{200D}", LabelFault::Invisible),
            ("\u{200D}Ann", LabelFault::Invisible),
            ("A\u{200D}\u{200D}n", LabelFault::Invisible),
            ("Ann\u{3164}", LabelFault::Invisible),
            ("Ann\u{FE0F}\u{FE0F}", LabelFault::Invisible),
            ("Ann\u{E0041}", LabelFault::Invisible),
            ("\u{FEFF}Ann", LabelFault::Invisible),
            ("Z\u{301}\u{301}\u{301}\u{301}\u{301}", LabelFault::Marks),
        ] {
            assert_eq!(check_label(wrong), Err(fault), "{wrong:?}");
        }
    }

    #[test]
    fn a_text_shows_something_or_nothing() {
        for blank in ["", " \n\t", "\u{B}", "\u{A0}", "\u{3000}", "\u{200B}", "\u{FEFF}", "\0", "\u{2800}", "\u{FE0F}"]
        {
            assert!(!has_visible(blank), "{blank:?}");
        }
        for shown in [".", "\n.\n", "é", "👍", "\u{600}", "한", "\u{10FFFD}", "\u{E000}"] {
            assert!(has_visible(shown), "{shown:?}");
        }
    }
}
