//! The faults of the scripted server.

/// The faults; each happens once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The next command is logged, and the socket closes without an acknowledgement.
    LoseAck,
    /// The next command is not logged, and the socket closes.
    LoseCommand,
    /// The next `hello` is answered with a reset.
    Reset,
    /// The next `hello` is answered with this close code.
    Close(u16),
    /// The next upgrade is answered with 429, and this many seconds to wait.
    TurnAway(u32),
    /// The next welcome asks the device to move.
    Move,
    /// Tokens issued so far have expired.
    ExpireTokens,
    /// The server no longer knows the key that signed the tokens issued so far.
    ForgetKey,
    /// The next request for the newest rows is answered `retry`.
    NoRows,
    /// The next `renew` is answered with an error.
    NoRenewal,
}
