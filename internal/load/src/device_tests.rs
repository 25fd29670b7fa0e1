//! A device against the scripted server of the client's tests.

#[path = "../../client/tests/support/server.rs"]
mod server;

use std::time::Duration;

use client::{Endpoints, Http, Identity, Secret, UserId};
use environment::{Clock, Entropy};
use tokio::time::timeout;

use super::*;
use crate::conversations::Conversation;
use crate::oracle::Fate;

/// The timeout of every wait in these tests.
const PATIENCE: Duration = Duration::from_secs(20);

/// A device of a user in a conversation with itself, and who gives it orders.
async fn running(server: &server::Server) -> (Running, mpsc::Sender<Order>) {
    let http = Http::new(Endpoints::new(&server.url(), None, None).unwrap()).unwrap();
    let password = Secret::new("password");
    http.register("ann", &password).await.unwrap();
    let user: UserId = http.sign_in("ann", &password).await.unwrap().id;
    let conversation = ConversationId::direct(user, user);
    server.world.lock().unwrap().others.push(conversation);
    let world = Arc::new(World::new(vec![Conversation { id: conversation, members: vec![0] }], 1));
    let options = ClientOptions {
        http: Arc::new(http),
        identity: Identity { user, name: "ann".into() },
        state: DeviceState::default(),
        clock: Clock::system(),
        entropy: Entropy::seeded(7),
    };
    let (orders, taken) = mpsc::channel(1);
    let nodes = (vec![server.url()], 0);
    let device = Device { number: 0, world, options, nodes, conversations: vec![0], orders: taken };
    let client = Some(device.client(DeviceState::default()));
    let journal = Journal::default();
    (Running { device, client, journal, begun: false, up: false, finish: None }, orders)
}

async fn until(running: &mut Running, mut reached: impl FnMut(&Running) -> bool) {
    let waiting = async {
        while !reached(running) {
            running.step().await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("it happens in time");
}

#[tokio::test]
async fn what_has_come_before_a_device_leaves_is_in_its_journal() {
    let server = server::Server::start().await;
    let (mut ann, _orders) = running(&server).await;
    until(&mut ann, |ann| ann.up).await;
    let world = Arc::clone(&ann.device.world);
    let (number, id) = world.ledger.enter((0, 0), 0, Instant::now(), Clock::system().now_ms());
    let conversation = world.conversations[0].id;
    ann.obey(Order::Send { number, id, conversation, due: Instant::now(), bytes: 30 }).await;
    // The frame of an own message tells the fate of its command first, and the message itself next.
    until(&mut ann, |_| world.ledger.all()[0].fate != Fate::Open).await;
    assert!(ann.journal.shown.is_empty() && ann.client.as_ref().is_some_and(|client| client.checkpoint().is_none()));
    ann.obey(Order::Leave).await;
    assert_eq!(ann.journal.shown.iter().map(|shown| shown.number).collect::<Vec<_>>(), [number]);
    assert!(ann.client.is_none() && !ann.up);
    ann.obey(Order::Return).await;
    until(&mut ann, |ann| ann.up).await;
    assert_eq!((ann.journal.shown.len(), ann.journal.resets.len()), (1, 0), "it goes on where it was");
}
