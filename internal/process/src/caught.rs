//! Catching a panic of work that touches nothing but memory that its caller drops then.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The work panicked. What it said went to stderr, and stays out of errors: it may quote what users wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it panicked")]
pub struct Panicked;

/// Does the work; a panic is an error. The caller drops whatever the work may have left half done.
///
/// # Errors
/// When the work panicked.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_all_else_comes_through() {
        assert_eq!(caught(|| 7), Ok(7));
        assert_eq!(caught(|| -> u8 { panic!("made by the test") }), Err(Panicked));
    }
}
