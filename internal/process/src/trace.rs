//! Trace context that travels in request and record headers: `traceparent` of W3C Trace Context, level 1.

use std::fmt;
use std::str::FromStr;

use environment::Entropy;

/// The name of the header, in HTTP and in records.
pub const TRACEPARENT: &str = "traceparent";

/// A span of a trace, as the header names it. Handlers get it as `axum::Extension<TraceParent>` behind
/// [`crate::serve()`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    trace: u128,
    span: u64,
    sampled: bool,
}

/// The text is not a `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a W3C traceparent")]
pub struct NotTraceParent;

impl TraceParent {
    /// The start of a new trace.
    #[must_use]
    pub fn new(entropy: &Entropy) -> Self {
        // All zeros mean "none" in the format; `| 1` leaves them out.
        let trace = u128::from_be_bytes(entropy.bytes::<16>()) | 1;
        Self { trace, span: fresh_span(entropy), sampled: true }
    }

    /// Another span of the same trace.
    #[must_use]
    pub fn child(self, entropy: &Entropy) -> Self {
        Self { span: fresh_span(entropy), ..self }
    }

    /// A child of the header's span; the start of a trace when the header has nothing usable.
    #[must_use]
    pub fn from_header(value: Option<&[u8]>, entropy: &Entropy) -> Self {
        let parsed = value.and_then(|bytes| std::str::from_utf8(bytes).ok()).and_then(|text| text.parse::<Self>().ok());
        parsed.map_or_else(|| Self::new(entropy), |parent| parent.child(entropy))
    }

    /// The trace's id: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace)
    }
}

fn fresh_span(entropy: &Entropy) -> u64 {
    u64::from_be_bytes(entropy.bytes::<8>()) | 1
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

impl FromStr for TraceParent {
    type Err = NotTraceParent;

    fn from_str(text: &str) -> Result<Self, NotTraceParent> {
        let mut parts = text.split('-');
        let mut part = |digits: usize| {
            let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            parts.next().filter(|part| part.len() == digits && part.bytes().all(lower)).ok_or(NotTraceParent)
        };
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        // Later versions may add parts at the end; version 00 has none, ff is not a version.
        if version == "ff" || (version == "00" && parts.next().is_some()) {
            return Err(NotTraceParent);
        }
        let trace = u128::from_str_radix(trace, 16).map_err(|_| NotTraceParent)?;
        let span = u64::from_str_radix(span, 16).map_err(|_| NotTraceParent)?;
        let flags = u8::from_str_radix(flags, 16).map_err(|_| NotTraceParent)?;
        if trace == 0 || span == 0 {
            return Err(NotTraceParent);
        }
        Ok(Self { trace, span, sampled: flags & 1 == 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_written_can_be_read() {
        let entropy = Entropy::seeded(1);
        assert_eq!(EXAMPLE.parse::<TraceParent>().unwrap().to_string(), EXAMPLE);
        let made = TraceParent::new(&entropy);
        assert_eq!(made.to_string().parse(), Ok(made));
        let child = TraceParent::from_header(Some(EXAMPLE.as_bytes()), &entropy);
        assert_eq!(child.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert_ne!(child.to_string(), EXAMPLE);
    }

    #[test]
    fn other_texts_start_a_new_trace() {
        for text in ["", "00-0-0-0", &EXAMPLE.to_uppercase(), &format!("{EXAMPLE}-00"), &EXAMPLE.replace("00-", "ff-")]
        {
            assert_eq!(text.parse::<TraceParent>(), Err(NotTraceParent), "{text}");
        }
        let zeros = format!("00-{:032x}-{:016x}-01", 0, 0);
        assert_eq!(zeros.parse::<TraceParent>(), Err(NotTraceParent));
        assert!(TraceParent::from_header(Some(b"\xff"), &Entropy::seeded(1)).to_string().starts_with("00-"));
    }
}
