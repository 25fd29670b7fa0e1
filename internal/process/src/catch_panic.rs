//! Turns a panic of a piece of work into an error. Only for work on memory that its caller drops afterwards.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The work panicked. The panic's message went to stderr and stays out of errors: it may quote what users wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it panicked")]
pub struct Panicked;

/// Runs the work; a panic becomes an error. The caller drops whatever the work may have left half done.
///
/// # Errors
/// When the work panicked.
pub fn catch_panic<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_all_else_comes_through() {
        assert_eq!(catch_panic(|| 7), Ok(7));
        assert_eq!(catch_panic(|| -> u8 { panic!("made by the test") }), Err(Panicked));
    }
}
