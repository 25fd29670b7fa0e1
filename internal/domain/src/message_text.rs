//! The text of a message: what people write, in the one type that it has from the request to the rows.
//!
//! So that sealing it (a key for each author, so that an author can be forgotten) changes this file and the edges that
//! it names, and so that no log line, panic message or `{:?}` of an enclosing value shows what somebody wrote.
//!
//! Titles, names and reactions are not of this type: they are labels, judged and listed as such. Where a title stands in
//! the field of a body (a timeline entry on the wire), it travels as one.

use std::fmt;

/// What somebody wrote: the body of a message or of an edit. Its debug output is its length; it has no `Display`.
///
/// There is one way in for each side. What people wrote comes in with `From`, as it is: whether it fits is asked with
/// [`crate::Action::check`] when a command is taken, and judged by the reducer at its seq in the log. What the log and
/// the rows hold comes in with [`Self::recorded`] and goes out with [`Self::into_record`]. To be read by people, it is
/// [revealed](Self::reveal). A test in `e2e` has the list of the files that do that.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct MessageText(String);

impl MessageText {
    /// As the log or a row has it. Whatever was recorded is a text, be it empty or longer than what fits today: what it
    /// means is for the reducer to say.
    #[must_use]
    pub fn recorded(text: String) -> Self {
        Self(text)
    }

    /// As the log and the rows are to have it.
    #[must_use]
    pub fn into_record(self) -> String {
        self.0
    }

    /// The text, for somebody to read.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Its bytes (UTF-8): what its author is charged for.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// As somebody wrote it.
impl From<String> for MessageText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// As somebody wrote it.
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

    /// What a program of another day let through must decode, to be judged.
    #[test]
    fn whatever_was_recorded_is_a_text() {
        for text in ["", "\0", " \n", &"x".repeat(1 << 20)] {
            let recorded = MessageText::recorded(text.to_owned());
            assert_eq!(recorded, MessageText::from(text));
            assert_eq!((recorded.bytes(), recorded.into_record().as_str()), (text.len(), text));
        }
    }
}
