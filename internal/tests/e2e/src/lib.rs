//! End-to-end tests: whole programs, real sockets, and real servers where asked. There is nothing but tests here.
