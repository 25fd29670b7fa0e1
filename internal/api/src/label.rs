//! The rules for new names and titles: one line of visible text that hides nothing.
//!
//! This is stricter than the rules (`domain::words`), whose tables are frozen because events are judged by them at any
//! replay. Events are not judged by this check, so it follows the Unicode of the libraries.

use domain::words::{self, LabelFault, MARKS_IN_A_ROW_MAX};
use icu_normalizer::DecomposingNormalizerBorrowed;
use icu_properties::props::{
    CanonicalCombiningClass, Emoji, EmojiModifier, ExtendedPictographic, GeneralCategory, JoiningType,
};
use icu_properties::{CodePointMapData, CodePointSetData};

/// The bound on marks in a row on one character that take room beside it. Burmese has words with six.
const ALL_MARKS_IN_A_ROW_MAX: usize = 8;

const ZERO_WIDTH_NON_JOINER: char = '\u{200C}';
const ZERO_WIDTH_JOINER: char = '\u{200D}';
const TEXT_PRESENTATION: char = '\u{FE0E}';
const EMOJI_PRESENTATION: char = '\u{FE0F}';
const KEYCAP: char = '\u{20E3}';
const BLACK_FLAG: char = '\u{1F3F4}';
/// The flags that are spelled with tag characters: England, Scotland, Wales (Unicode Technical Standard 51, ED-14a; no
/// others are recommended for interchange).
const FLAGS: [&str; 3] = ["gbeng", "gbsct", "gbwls"];

/// Whether the text can be given as a name or a title.
///
/// # Errors
/// What is wrong with it, phrased to follow "a title" or the like.
pub fn check_label(text: &str) -> Result<(), &'static str> {
    words::check_label(text).map_err(LabelFault::words)?;
    let chars: Vec<char> = text.chars().collect();
    if chars.first().is_some_and(|c| is_mark(*c)) {
        return Err("cannot begin with a mark that sits on the character before it");
    }
    if has_pile(text) {
        return Err(LabelFault::Marks.words());
    }
    let appended = |at: usize| match chars[at] {
        ZERO_WIDTH_NON_JOINER => after_virama(&chars, at) || keeps_apart(&chars, at),
        ZERO_WIDTH_JOINER => after_virama(&chars, at) || joins_pictures(&chars, at),
        TEXT_PRESENTATION | EMOJI_PRESENTATION => presents(&chars, at),
        BLACK_FLAG => spells_a_flag(&chars[at + 1..]),
        _ => true,
    };
    if (0..chars.len()).all(appended) { Ok(()) } else { Err(LabelFault::Invisible.words()) }
}

fn category(c: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(c)
}

fn is_mark(c: char) -> bool {
    use GeneralCategory as Of;
    matches!(category(c), Of::NonspacingMark | Of::EnclosingMark | Of::SpacingMark) && !is_presentation(c)
}

fn is_presentation(c: char) -> bool {
    matches!(c, TEXT_PRESENTATION | EMOJI_PRESENTATION)
}

/// Whether more marks sit on one character than any language needs, including those of composed characters.
fn has_pile(text: &str) -> bool {
    let (mut narrow, mut all) = (0, 0);
    DecomposingNormalizerBorrowed::new_nfd().normalize(text).chars().any(|c| {
        all = if is_mark(c) { all + 1 } else { 0 };
        narrow = if is_mark(c) && category(c) != GeneralCategory::SpacingMark { narrow + 1 } else { 0 };
        narrow > MARKS_IN_A_ROW_MAX || all > ALL_MARKS_IN_A_ROW_MAX
    })
}

/// RFC 5892, A.1 and A.2: a joiner or non-joiner behind a virama chooses the shape of a conjunct.
fn after_virama(chars: &[char], at: usize) -> bool {
    let class = |c: &char| CodePointMapData::<CanonicalCombiningClass>::new().get(*c);
    at.checked_sub(1).is_some_and(|before| class(&chars[before]) == CanonicalCombiningClass::Virama)
}

/// RFC 5892, A.1: a non-joiner between two letters that would join.
fn keeps_apart(chars: &[char], at: usize) -> bool {
    let joining = |c: &char| CodePointMapData::<JoiningType>::new().get(*c);
    let solid = |c: &&char| joining(c) != JoiningType::Transparent;
    let before = chars[..at].iter().rev().find(solid).map(joining);
    let after = chars[at + 1..].iter().find(solid).map(joining);
    matches!(before, Some(JoiningType::LeftJoining | JoiningType::DualJoining))
        && matches!(after, Some(JoiningType::RightJoining | JoiningType::DualJoining))
}

/// Unicode Technical Standard 51, ED-16: a joiner makes one emoji of several.
fn joins_pictures(chars: &[char], at: usize) -> bool {
    let is_picture = |c: char| CodePointSetData::new::<ExtendedPictographic>().contains(c);
    let is_shade = |c: char| CodePointSetData::new::<EmojiModifier>().contains(c);
    let before = at.checked_sub(1).map(|before| chars[before]);
    before.is_some_and(|c| is_picture(c) || is_shade(c) || c == EMOJI_PRESENTATION)
        && chars.get(at + 1).is_some_and(|c| is_picture(*c))
}

/// Whether a presentation selector changes how the character before it is shown. On a digit it only matters in a
/// keycap.
fn presents(chars: &[char], at: usize) -> bool {
    let Some(before) = at.checked_sub(1).map(|before| chars[before]) else { return false };
    CodePointSetData::new::<Emoji>().contains(before) && (!before.is_ascii() || chars.get(at + 1) == Some(&KEYCAP))
}

/// Whether the tags behind a black flag, if there are any, make a flag of it.
fn spells_a_flag(behind: &[char]) -> bool {
    let is_tag = |c: char| ('\u{E0020}'..='\u{E007F}').contains(&c);
    let letter = |c: char| char::from_u32(u32::from(c) - 0xE_0000).unwrap_or_default();
    let spelled: String = behind.iter().copied().take_while(|c| is_tag(*c)).map(letter).collect();
    spelled.is_empty() || spelled.strip_suffix('\u{7F}').is_some_and(|region| FLAGS.contains(&region))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Issue 10, item 11.
    #[test]
    fn a_label_shows_what_it_is() {
        for good in [
            "Ann",
            "Zoe\u{308}",
            "Nguye\u{302}\u{303}n",
            "Nguyễn Thị Hằng",
            "👩‍👩‍👧‍👦 נועה",
            "👩🏽‍⚕\u{FE0F}",
            "🏳\u{FE0F}‍🌈",
            "❤\u{FE0F}",
            "☎\u{FE0E}",
            "1\u{FE0F}\u{20E3}",
            "🏴",
            "🏴\u{E0067}\u{E0062}\u{E0065}\u{E006E}\u{E0067}\u{E007F}",
            "می\u{200C}خواهم",
            "क्\u{200D}ष",
            "ක්\u{200D}රිස්තු",
            "שָׁ֣",
            "ကျွန်ုပ်တို့",
            "རྒྱལ་པོ",
            "한국어",
            "日本\u{3000}語",
        ] {
            assert_eq!(check_label(good), Ok(()), "{good:?}");
        }
        let hidden: String = "hidden".bytes().filter_map(|b| char::from_u32(0xE_0000 + u32::from(b))).collect();
        let (invisible, pile) = (LabelFault::Invisible.words(), LabelFault::Marks.words());
        for (wrong, fault) in [
            ("An\u{200C}n".to_owned(), invisible),
            ("An\u{200D}n".to_owned(), invisible),
            ("می\u{200D}خواهم".to_owned(), invisible),
            ("An\u{FE0E}n".to_owned(), invisible),
            ("An\u{FE0F}n".to_owned(), invisible),
            ("Ann 1\u{FE0F}".to_owned(), invisible),
            (format!("🏴{hidden}"), invisible),
            (format!("🏴{hidden}\u{E007F}"), invisible),
            ("🏴\u{E0067}\u{E0062}\u{E0065}\u{E006E}\u{E0067}".to_owned(), invisible),
            ("\u{1EA5}\u{301}\u{301}\u{301}\u{301}".to_owned(), pile),
            (format!("\u{915}{}", "\u{93E}".repeat(20)), pile),
            ("\u{301}Ann".to_owned(), "cannot begin with a mark that sits on the character before it"),
            ("\u{202E}eciLA".to_owned(), invisible),
            ("Z\u{301}\u{301}\u{301}\u{301}\u{301}".to_owned(), pile),
        ] {
            assert_eq!(check_label(&wrong), Err(fault), "{wrong:?}");
        }
    }
}
