//! Configuration: command-line options. Values from the environment go through the same parser.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use clap::Parser;
use process::options::{KeysOptions, ListenOptions, LogOptions, SocketOptions, StoreOptions, UserRateOptions};

/// The options that programs have in common.
#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    listen: ListenOptions,
    #[command(flatten)]
    log: LogOptions,
    #[command(flatten)]
    store: StoreOptions,
    #[command(flatten)]
    keys: KeysOptions,
    #[command(flatten)]
    sockets: SocketOptions,
    #[command(flatten)]
    user_rate: UserRateOptions,
}

/// The arguments of a command line, one per line; they need not be UTF-8.
pub(crate) fn configuration(bytes: &[u8]) {
    let words = bytes.split(|byte| *byte == b'\n').map(|word| OsString::from_vec(word.to_vec()));
    match Options::try_parse_from(std::iter::once(OsString::from("program")).chain(words)) {
        Ok(options) => {
            assert!(!options.sockets.drain_window().is_zero() && options.sockets.sockets_max > 0);
            assert!(options.user_rate.user_rate > 0 && options.user_rate.user_burst > 0);
            assert!(options.listen.address_or(1).port() > 0 || options.listen.listen.is_some());
        }
        // Every refusal has a message.
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
