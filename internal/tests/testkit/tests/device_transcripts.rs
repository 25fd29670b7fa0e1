//! Runs the device transcripts of `schemas/golden/device` against the device of this crate.
#![allow(clippy::unwrap_used)]

#[path = "../../../client/tests/support/transcript.rs"]
mod transcript;

use domain::{CommandId, ConversationId, UserId};
use protocol::ClientFrame;
use testkit::device::{self, Account, Device, Endpoints, Route, Stamps};
use transcript::{Fate, Kept, Picture, Subject, play_all};

struct OfTheTestkit(Device);

impl Subject for OfTheTestkit {
    fn act(&mut self, wish: ClientFrame) {
        match wish {
            ClientFrame::Command(command) => drop(self.0.send(command, Route::Socket, None).unwrap()),
            ClientFrame::Mark { conversation, seq } => self.0.mark(conversation, seq),
            other => panic!("{other:?}"),
        }
    }

    fn kept(&mut self) -> Kept {
        let memory = self.0.memory();
        Kept { cursor: memory.kept.cursor, highest: memory.kept.highest.clone() }
    }

    fn picture(&mut self, conversation: ConversationId) -> Picture {
        let memory = self.0.memory();
        let entries = memory.kept.rooms.get(&conversation).map(|room| room.entries.values().cloned().collect());
        Picture { entries: entries.unwrap_or_default(), mark: memory.kept.marks.get(&conversation).copied() }
    }

    fn fate(&mut self, id: CommandId) -> Fate {
        match self.0.memory().sends[&id].fate {
            device::Fate::Open => Fate::Open,
            device::Fate::Stands(_) => Fate::Stands,
            device::Fate::Withdrawn => Fate::Withdrawn,
            device::Fate::Refused(_) => Fate::Refused,
            device::Fate::NotTaken(_) => Fate::NotTaken,
        }
    }
}

async fn begin(url: String, user: UserId) -> OfTheTestkit {
    let endpoints = Endpoints { users: url.clone(), chat: vec![url.clone()], sockets: vec![url] };
    let account = Account { name: "ann".into(), user };
    OfTheTestkit(Device::start(0, &endpoints, &account, &Stamps::default()).unwrap())
}

#[tokio::test]
async fn every_device_transcript_is_followed() {
    play_all(begin).await;
}
