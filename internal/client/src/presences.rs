//! What is true for a moment: what the client says of its user, and how present the users are whom it watches.

use std::collections::BTreeMap;

use domain::{CommandId, ConversationId, Doing, Presence, Status, UserId, WATCHED_MAX};
use protocol::{OwnStatus, SignalFrame};
use tokio::time::Instant;

use crate::Client;

impl Client {
    /// The user is typing in that conversation. It may be called for every key: `typing` is sent only as often as
    /// the server accepts it, and may be lost.
    pub fn typing(&mut self, conversation: ConversationId) {
        self.typing_as(conversation, Doing::Text, None);
    }

    /// As [`Self::typing`]: what the user is about to say, and the root of the thread it belongs to.
    pub fn typing_as(&mut self, conversation: ConversationId, doing: Doing, thread: Option<CommandId>) {
        self.device.typing(conversation, doing, thread, Instant::now());
        self.carry_out();
    }

    /// How present the user is at this device, until it is said otherwise. At first `online`.
    pub fn present(&mut self, status: OwnStatus) {
        self.device.present(status);
        self.carry_out();
    }

    /// Whose presence the application shows from now on: all of them, at most [`domain::WATCHED_MAX`]. They are told as
    /// [`crate::ClientEvent::Signal`]: see [`crate::Presences`].
    pub fn watch(&mut self, users: Vec<UserId>) {
        self.device.watch(users);
        self.carry_out();
    }
}

/// The presence of watched users. Nothing of it is stored: a new connection is told all of it again.
#[derive(Debug, Clone, Default)]
pub struct Presences {
    users: BTreeMap<UserId, Presence>,
}

impl Presences {
    /// Applies a signal. Returns the presence of a user whose status is another one than before.
    pub fn signal(&mut self, signal: &SignalFrame) -> Option<Presence> {
        let SignalFrame::Presence { user, status, since: since_ms } = *signal else { return None };
        let presence = Presence { user, status: status.into(), since_ms };
        if self.users.len() >= WATCHED_MAX && !self.users.contains_key(&user) {
            return None;
        }
        let before = self.users.insert(user, presence).map_or(Status::Offline, |before| before.status);
        (before != presence.status).then_some(presence)
    }

    /// The user's presence, if it is known.
    #[must_use]
    pub fn of(&self, user: UserId) -> Option<Presence> {
        self.users.get(&user).copied()
    }

    /// The users who are not offline.
    pub fn here(&self) -> impl Iterator<Item = Presence> {
        self.users.values().filter(|presence| presence.status != Status::Offline).copied()
    }

    /// The connection is lost: nothing is known any more.
    pub fn forget(&mut self) {
        self.users.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_once_and_absence_at_first_is_none() {
        let user: UserId = "00000000-0000-4000-8000-000000000001".parse().unwrap();
        let mut presences = Presences::default();
        let mut says = |status| {
            let presence = Presence { user, status, since_ms: Some(7) };
            presences.signal(&presence.into()).map(|changed| changed.status)
        };
        assert_eq!(says(Status::Offline), None);
        assert_eq!(says(Status::Idle), Some(Status::Idle));
        assert_eq!(says(Status::Idle), None);
        assert_eq!(says(Status::Offline), Some(Status::Offline));
        assert_eq!(says(Status::Dnd), Some(Status::Dnd));
        assert_eq!(presences.here().map(|presence| presence.user).collect::<Vec<_>>(), [user]);
        presences.forget();
        assert_eq!(presences.of(user), None);
    }
}
