//! What the HTTP services have in common: extractors, the error that a handler answers with, and the outermost layer.
//!
//! The contents (bodies, frames, codes) are in `protocol`; this crate carries them over axum.

mod authenticated;
mod error;
mod extract;
mod label;
mod layer;
mod routes;

pub use authenticated::Authenticated;
pub use error::ApiError;
pub use extract::{Caller, Json, Path, Query, bearer};
pub use label::check_label;
pub use layer::{REQUEST_ID_HEADER, finish_errors};
pub use routes::Routes;
