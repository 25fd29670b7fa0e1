//! Websocket close codes. The range alone tells a client what to do: on 4000-4099 reconnect with its cursor, on
//! 4100-4199 stop and tell the user. Codes are only ever added.

/// Why the server closes a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// The device could not keep up: it read nothing for too long while the node wrote to it.
    Slow,
    /// The node is shutting down: connect to another one, at once.
    Draining,
    /// The node lost its position in the log, or the log is not reachable.
    PositionLost,
    /// Nothing was received from the device for too long.
    Idle,
    /// The token expired: refresh it and reconnect.
    TokenExpired,
    /// The node or the user has too many sockets: wait a little.
    TooMany,
    /// No valid token.
    Unauthorized,
    /// The first frame was not `hello`.
    NoHello,
    /// A frame above the size bound.
    TooLarge,
    /// A violation of the protocol: a binary frame, too many malformed frames, too many pings.
    Protocol,
}

impl CloseCode {
    /// Every code there is.
    pub const ALL: [Self; 10] = [
        Self::Slow,
        Self::Draining,
        Self::PositionLost,
        Self::Idle,
        Self::TokenExpired,
        Self::TooMany,
        Self::Unauthorized,
        Self::NoHello,
        Self::TooLarge,
        Self::Protocol,
    ];

    /// The reason on the wire with [`Self::TooMany`] where the node is not full, but too many devices come at once.
    pub const CROWDED: &str = "too many at once: wait and come back";

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::Slow => 4000,
            Self::Draining => 4001,
            Self::PositionLost => 4002,
            Self::Idle => 4003,
            Self::TokenExpired => 4004,
            Self::TooMany => 4005,
            Self::Unauthorized => 4100,
            Self::NoHello => 4101,
            Self::TooLarge => 4102,
            Self::Protocol => 4103,
        }
    }

    /// The reason on the wire.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Slow => "slow: come back with your cursor",
            Self::Draining => "draining: connect again at once",
            Self::PositionLost => "lost place: come back with your cursor",
            Self::Idle => "idle: come back with your cursor",
            Self::TokenExpired => "token expired: refresh it and come back",
            Self::TooMany => "too many sockets: wait and come back",
            Self::Unauthorized => "unauthorized: sign in",
            Self::NoHello => "expected a hello frame first",
            Self::TooLarge => "frame too large",
            Self::Protocol => "not the protocol",
        }
    }

    /// Whether a client that was closed with this number should reconnect by itself.
    #[must_use]
    pub const fn reconnect(number: u16) -> bool {
        !matches!(number, 4100..=4199)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_tells_whether_to_come_back() {
        assert!(CloseCode::reconnect(CloseCode::Slow.number()));
        assert!(!CloseCode::reconnect(CloseCode::Unauthorized.number()));
        for code in CloseCode::ALL {
            assert!(code.reason().len() <= 123, "a close frame's reason has at most 123 bytes");
        }
    }
}
