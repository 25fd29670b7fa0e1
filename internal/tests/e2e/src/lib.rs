//! End-to-end tests: whole programs, real sockets, and real servers where they are asked for. This crate has only
//! tests.
