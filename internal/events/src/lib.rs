//! Events on the wire: the Avro records of `schemas/`, their headers, the registry, and the table of topics.

pub mod topics;
