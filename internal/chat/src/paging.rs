//! Page sizes.

use api::{ApiError, ErrorCode};

/// The most that one page holds.
pub(crate) const PAGE_MAX: usize = 200;
/// What a page holds when the client does not say.
const PAGE_DEFAULT: usize = 50;

/// The page size asked for.
///
/// # Errors
/// `page_out_of_range`.
pub(crate) fn limit(asked: Option<i64>, max: usize) -> Result<usize, ApiError> {
    let Some(asked) = asked else { return Ok(PAGE_DEFAULT.min(max)) };
    usize::try_from(asked)
        .ok()
        .filter(|limit| (1..=max).contains(limit))
        .ok_or_else(|| ApiError::new(ErrorCode::PageOutOfRange, format!("limit {asked} is out of range: 1 to {max}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_holds_one_to_the_bound() {
        assert_eq!((limit(None, 200).unwrap(), limit(None, 20).unwrap()), (50, 20));
        assert_eq!((limit(Some(1), 200).unwrap(), limit(Some(200), 200).unwrap()), (1, 200));
        for asked in [i64::MIN, -1, 0, 201, i64::MAX] {
            assert_eq!(limit(Some(asked), 200).unwrap_err().code, ErrorCode::PageOutOfRange, "{asked}");
        }
    }
}
