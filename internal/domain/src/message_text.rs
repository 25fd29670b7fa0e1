//! The text of a message, which has this one type on its whole way from the request to the rows.
//!
//! One type, so that encrypting the text later (with a key for each author, so that an author can be erased)
//! changes this file and the places that it names, and so that no log line, panic message or `{:?}` of an
//! enclosing value shows it.
//!
//! Titles, names and reactions are labels with checks of their own, and not of this type. Where a title is in the
//! field of a body (a timeline entry on the wire), it has this type there.

use std::fmt;

/// The body of a message or of an edit. Its debug output is its length; it has no `Display`.
///
/// Text from clients is converted with `From`, unchecked: [`crate::Action::check`] checks its size when a command
/// is received, and the reducer judges it at its seq in the log. Text from the log and the rows is converted with
/// [`Self::recorded`], and back with [`Self::into_record`]. Code that shows the text to a person calls
/// [`Self::reveal`]; a test in `e2e` lists the files that do.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct MessageText(String);

impl MessageText {
    /// The text of a record or row. Any text is accepted, even an empty one or one longer than today's limit: the
    /// reducer judges it.
    #[must_use]
    pub fn recorded(text: String) -> Self {
        Self(text)
    }

    /// The text as it is written to the log and the rows.
    #[must_use]
    pub fn into_record(self) -> String {
        self.0
    }

    /// The plain text, for somebody to read.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Its length in bytes (UTF-8), which counts towards the author's quota.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// The text as a client sent it, unchecked.
impl From<String> for MessageText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// The text as a client sent it, unchecked.
impl From<&str> for MessageText {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for MessageText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[text of {} bytes]", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_shows_its_length_and_nothing_else() {
        let text = MessageText::from("grüezi");
        assert_eq!(format!("{text:?} {text:#?}"), "[text of 7 bytes] [text of 7 bytes]");
        assert_eq!(text.reveal(), "grüezi");
    }

    /// Text that other versions of the program accepted must decode, so that it can be judged.
    #[test]
    fn whatever_was_recorded_is_a_text() {
        for text in ["", "\0", " \n", &"x".repeat(1 << 20)] {
            let recorded = MessageText::recorded(text.to_owned());
            assert_eq!(recorded, MessageText::from(text));
            assert_eq!((recorded.bytes(), recorded.into_record().as_str()), (text.len(), text));
        }
    }
}
