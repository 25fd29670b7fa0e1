//! A frame inside a batch, as it came: it may be another producer's, and of any form.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A frame of [`crate::ServerFrame::Batch`] as JSON. Debug output has its `type`: the rest may be what somebody wrote.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BatchedFrame(pub Value);

impl fmt::Debug for BatchedFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[frame of type {}]", self.0.get("type").unwrap_or(&Value::Null))
    }
}
