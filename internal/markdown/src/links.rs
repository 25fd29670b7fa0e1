//! Targets of links. Only `http`, `https` and `mailto` are any; everything else, such as `javascript:`, stays text.
//!
//! A target is ASCII, as browsers copy it: a name in another script, or one that looks like another, shows as what it
//! is (`xn--...`), and a link in a text without spaces ends where the text goes on.

use crate::source::{Line, Source};

/// Digits of a port at most.
const PORT_DIGITS_MAX: usize = 5;

/// Whether the whole of `target` may be opened as a link. A client asks this once more before it opens one, wherever
/// the target comes from.
#[must_use]
pub fn is_link(target: &str) -> bool {
    let line = Line { start: 0, end: target.len() };
    find_target(&Source::new(target), line, 0) == Some(target.len())
}

/// A target that begins somewhere in a text.
pub(crate) enum Bare {
    /// It ends before this byte.
    Link(usize),
    /// What is before this byte looked like a target at first, and is text.
    Text(usize),
}

/// What may be a bare link at `at`; none when nothing like one begins there.
pub(crate) fn find_bare(source: &Source<'_>, line: Line, at: usize) -> Option<Bare> {
    if source.byte_before(line, at).is_ascii_alphanumeric() {
        return None;
    }
    let run_end = find_target(source, line, at)?;
    if is_glued(source.byte(line, run_end)) {
        return Some(Bare::Text(run_end));
    }
    let mut end = run_end;
    while ends_sentence(source.byte_before(line, end)) {
        end -= 1;
    }
    Some(Bare::Link(end))
}

/// Where the longest target ends that begins at `at`.
pub(crate) fn find_target(source: &Source<'_>, line: Line, at: usize) -> Option<usize> {
    if let Some(local) = after_word(source, line, at, b"mailto:") {
        let sign = local + source.run(line, local, is_local);
        if sign == local || source.byte(line, sign) != b'@' {
            return None;
        }
        let end = find_host(source, line, sign + 1)?;
        return Some(if source.byte(line, end) == b'?' { find_rest(source, line, end) } else { end });
    }
    let host = after_word(source, line, at, b"https://").or_else(|| after_word(source, line, at, b"http://"))?;
    let mut end = find_host(source, line, host)?;
    if source.byte(line, end) == b':' {
        let digits = source.run(line, end + 1, |byte| byte.is_ascii_digit());
        if (1..=PORT_DIGITS_MAX).contains(&digits) {
            end += 1 + digits;
        }
    }
    Some(if matches!(source.byte(line, end), b'/' | b'?' | b'#') { find_rest(source, line, end) } else { end })
}

/// Where `word` ends when the line has it at `at`, in capitals or not.
fn after_word(source: &Source<'_>, line: Line, at: usize, word: &[u8]) -> Option<usize> {
    let mut letters = word.iter().enumerate();
    letters.all(|(n, letter)| source.byte(line, at + n).eq_ignore_ascii_case(letter)).then_some(at + word.len())
}

/// Where the host ends that begins at `at`. It begins and ends with a letter or digit.
fn find_host(source: &Source<'_>, line: Line, at: usize) -> Option<usize> {
    let mut end = at + source.run(line, at, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    while end > at && !source.byte_before(line, end).is_ascii_alphanumeric() {
        end -= 1;
    }
    (end > at && source.byte(line, at).is_ascii_alphanumeric()).then_some(end)
}

/// Where path, query and fragment end: before the first parenthesis that closes none of theirs, or before the first
/// character that is none of a URL's.
fn find_rest(source: &Source<'_>, line: Line, at: usize) -> usize {
    let (mut end, mut open) = (at, 0_usize);
    loop {
        match source.byte(line, end) {
            b'(' => open += 1,
            b')' if open == 0 => return end,
            b')' => open -= 1,
            byte if !is_url(byte) => return end,
            _ => {}
        }
        end += 1;
    }
}

/// Brackets are left out although queries may have them: with them, one target could begin inside another that has no
/// end, and finding them all would not be linear.
fn is_url(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(byte, b'"' | b'<' | b'>' | b'[' | b'\\' | b']' | b'^' | b'`' | b'{' | b'|' | b'}')
}

fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-')
}

/// What belongs to the sentence rather than to the link when a link ends with it.
fn ends_sentence(byte: u8) -> bool {
    matches!(byte, b'.' | b',' | b':' | b';' | b'!' | b'?' | b'\'' | b'*' | b'~' | b'(')
}

/// Whether what follows belongs to the link in its author's mind, so that the part before it would lead elsewhere: an
/// `@` (the part before is not the host then), or a letter of U+00C0 to U+05BF (in UTF-8 these begin with C3 to D6).
/// Letters above may be of scripts without spaces, where a link ends like this.
fn is_glued(byte: u8) -> bool {
    byte == b'@' || (0xc3..=0xd6).contains(&byte)
}
