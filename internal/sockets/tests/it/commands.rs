//! Commands and read marks over a socket.

use domain::Event;
use events::MessageRecord;
use events::topics::{self, MESSAGES};
use protocol::{ErrorCode, ServerFrame};
use sockets::Config;

use crate::common::{Said, World, command_id, conversation, quick, user_of};

/// Message `number` of the conversation of users 0 and 1 of partition 0.
pub fn send(number: u64) -> String {
    let (id, conversation) = (command_id(number), conversation());
    format!(r#"{{"type":"send","id":"{id}","conversation":"{conversation}","body":"message {number}"}}"#)
}

#[tokio::test]
async fn commands_are_logged_in_the_order_they_came_and_acknowledged() {
    let world = World::new().await;
    let node = world.node(Config { burst: 1000, ..quick() }).await;
    let (mut device, _) = world.fresh_device(&node, user_of(0, 0)).await;
    for number in 0..30 {
        device.say(&send(number)).await;
    }
    let mut acked = Vec::new();
    for _ in 0..30 {
        match device.hear_news().await {
            Said::Server(ServerFrame::Ack { id, conversation: of }) => {
                assert_eq!(of, conversation());
                acked.push(id);
            }
            other => panic!("{other:?}"),
        }
    }
    acked.sort();
    assert_eq!(acked, (0..30).map(command_id).collect::<Vec<_>>());
    let ids: Vec<_> = world.events().await.into_iter().map(|event| event.id).collect();
    assert_eq!(ids, acked, "one conversation's commands stand in the order of the socket");
    node.stop().await;
}

#[tokio::test]
async fn what_cannot_be_taken_is_answered_with_its_id_and_a_code() {
    let world = World::new().await;
    let node = world.node(quick()).await;
    let (mut device, _) = world.fresh_device(&node, user_of(0, 0)).await;
    let (id, conversation) = (command_id(1), conversation());
    let cases = [
        ("not json".to_owned(), ErrorCode::BadRequest, false),
        (format!(r#"{{"type":"shout","id":"{id}"}}"#), ErrorCode::UnknownFrame, true),
        (format!(r#"{{"type":"send","id":"{id}"}}"#), ErrorCode::BadRequest, true),
        (
            format!(r#"{{"type":"send","id":"{id}","conversation":"{conversation}","body":""}}"#),
            ErrorCode::Invalid,
            true,
        ),
        (r#"{"type":"hello"}"#.to_owned(), ErrorCode::UnknownFrame, false),
    ];
    for (text, expected, named) in cases {
        device.say(&text).await;
        match device.hear_news().await {
            Said::Server(ServerFrame::Error { id, code, message, .. }) => {
                assert_eq!((code, id.is_some()), (expected, named), "{text}: {message}");
                assert!(!message.is_empty());
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    assert!(world.events().await.is_empty());
    node.stop().await;
}

#[tokio::test]
async fn a_mark_of_a_conversation_that_is_not_there_is_refused_by_name() {
    let world = World::new().await;
    let node = world.node(quick()).await;
    let (mut device, _) = world.fresh_device(&node, user_of(0, 0)).await;
    device.say(&format!(r#"{{"type":"mark","conversation":"{}","seq":7}}"#, conversation())).await;
    match device.hear_news().await {
        Said::Server(ServerFrame::Error { id: None, conversation: Some(named), code, .. }) => {
            assert_eq!(named, conversation());
            assert!(matches!(code, ErrorCode::NotMember | ErrorCode::Retry), "{code:?}");
        }
        other => panic!("{other:?}"),
    }
    node.stop().await;
}

#[tokio::test]
async fn too_many_commands_are_refused_and_the_socket_stays() {
    let world = World::new().await;
    let node = world.node(Config { burst: 5, rate: 1, ..quick() }).await;
    let (mut device, _) = world.fresh_device(&node, user_of(0, 0)).await;
    for number in 0..20 {
        device.say(&send(number)).await;
    }
    let (mut acked, mut limited) = (0, 0);
    for _ in 0..20 {
        match device.hear_news().await {
            Said::Server(ServerFrame::Ack { .. }) => acked += 1,
            Said::Server(ServerFrame::Error { code: ErrorCode::RateLimited, id: Some(_), .. }) => limited += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(acked >= 5 && limited >= 10, "{acked} taken, {limited} refused");
    node.stop().await;
}

impl World {
    /// How many records a topic has.
    pub async fn records(&self, topic: &str) -> u64 {
        let mut count = 0;
        for partition in 0..topics::spec_of(topic).partitions {
            count += self.log.watermarks(topic, partition).await.unwrap().next;
        }
        count
    }

    /// Every event in `chat.messages`, by partition.
    pub async fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for partition in 0..topics::spec_of(MESSAGES).partitions {
            let end = self.log.watermarks(MESSAGES, partition).await.unwrap().next;
            let mut reader = self.log.reader(MESSAGES, partition, 0).await.unwrap();
            let mut at = 0;
            while at < end {
                for record in reader.next(100).await.unwrap() {
                    at = record.offset + 1;
                    if let MessageRecord::Event(event) =
                        self.codec.read_message(&record.headers, &record.payload).unwrap()
                    {
                        events.push(*event);
                    }
                }
            }
        }
        events
    }
}
