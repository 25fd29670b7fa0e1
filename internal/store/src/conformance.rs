//! The conformance suite that every engine of the store passes.
