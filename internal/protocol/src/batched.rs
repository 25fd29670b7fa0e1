//! A frame inside a batch, not parsed further: another producer may have written it, in any form.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A frame of [`crate::ServerFrame::Batch`] as JSON. Debug output shows its `type` only: the rest may be message
/// text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BatchedFrame(pub Value);

impl fmt::Debug for BatchedFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[frame of type {}]", self.0.get("type").unwrap_or(&Value::Null))
    }
}
