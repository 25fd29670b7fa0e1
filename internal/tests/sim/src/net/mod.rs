//! The network between devices and services: pipes in memory that can break, stall and fall silent.

mod cable;
mod door;
mod http;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use auth::SigningKey;
use domain::UserId;
use environment::Clock;
use protocol::{SessionBody, UserBody};
use secret::Secret;
use testkit::device::{Network, Request, Stream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use workload::Random;

use crate::trace::Trace;
use crate::weather::Weather;
use cable::{Cable, End};

pub(crate) use door::{Door, serve};

/// The longest that an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// The lifetime of an access token.
const TOKEN: Duration = Duration::from_secs(900);

/// All listeners and connections.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) trace: Arc<Trace>,
    weather: Arc<Weather>,
    /// The buffer of a connection in each direction, in bytes.
    pipe: usize,
    /// Signs access tokens. Passwords are not simulated: hashing runs on threads of its own.
    key: SigningKey,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: Random,
    /// The listeners of services, by name.
    doors: BTreeMap<String, mpsc::UnboundedSender<End>>,
    /// The connections to each service.
    to: BTreeMap<String, Vec<Weak<Cable>>>,
    /// The sockets of each device, by its number.
    of: BTreeMap<usize, Vec<Weak<Cable>>>,
}

/// The network as one device uses it.
#[derive(Debug)]
pub(crate) struct DeviceNet {
    pub(crate) net: Arc<Net>,
    pub(crate) device: usize,
    pub(crate) user: UserId,
}

impl Net {
    pub(crate) fn new(
        trace: Arc<Trace>,
        weather: Arc<Weather>,
        pipe: usize,
        key: SigningKey,
        clock: Clock,
        seed: u64,
    ) -> Arc<Self> {
        let random = Random::new(seed);
        let state = State { random, doors: BTreeMap::new(), to: BTreeMap::new(), of: BTreeMap::new() };
        Arc::new(Self { trace, weather, pipe, key, clock, state: Mutex::new(state) })
    }

    /// Opens the listener of a service.
    pub(crate) fn open(&self, name: &str) -> Door {
        let (to, from) = mpsc::unbounded_channel();
        self.state().doors.insert(name.to_owned(), to);
        Door(from)
    }

    /// Closes the listener of a service.
    pub(crate) fn shut(&self, name: &str) {
        self.state().doors.remove(name);
    }

    /// The host is gone: closes the listener and breaks all connections to it.
    pub(crate) fn break_off(&self, name: &str) {
        self.shut(name);
        let cables = self.state().to.remove(name).unwrap_or_default();
        cables.iter().filter_map(Weak::upgrade).for_each(|cable| cable.cut());
    }

    /// The sockets of a device.
    pub(crate) fn cables(&self, device: usize) -> Vec<Arc<Cable>> {
        self.state().of.get(&device).into_iter().flatten().filter_map(Weak::upgrade).collect()
    }

    fn connect(&self, name: &str) -> io::Result<(End, Arc<Cable>)> {
        let mut state = self.state();
        let door = state.doors.get(name).filter(|door| !door.is_closed());
        let door = door.ok_or(io::ErrorKind::ConnectionRefused)?.clone();
        let (here, there, cable) = cable::lay(self.pipe);
        let _ = door.send(there);
        let known = state.to.entry(name.to_owned()).or_default();
        known.retain(|cable| cable.strong_count() > 0);
        known.push(Arc::downgrade(&cable));
        Ok((here, cable))
    }

    fn below(&self, bound: u64) -> u64 {
        self.state().random.below(bound)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DeviceNet {
    /// The answer of the user service to a sign-in.
    fn session(&self) -> Result<(u16, Vec<u8>), String> {
        let net = &self.net;
        let token = net.key.sign(self.user, None, net.clock.now_ms(), TOKEN).map_err(|error| error.to_string())?;
        let name = format!("user-{}", self.device);
        let session = SessionBody {
            device_token: None,
            access_token: Secret::new(token),
            expires_in: TOKEN.as_secs(),
            refresh_token: Secret::new("none"),
            user: UserBody { id: self.user, display_name: name.clone(), name, created: 0 },
        };
        Ok((200, serde_json::to_vec(&session).map_err(|error| error.to_string())?))
    }
}

#[async_trait]
impl Network for DeviceNet {
    async fn connect(&self, base: &str) -> io::Result<Box<dyn Stream>> {
        let name = base.strip_prefix("http://").unwrap_or(base);
        let (end, cable) = self.net.connect(name)?;
        let mut state = self.net.state();
        let sockets = state.of.entry(self.device).or_default();
        sockets.retain(|cable| cable.strong_count() > 0);
        sockets.push(Arc::downgrade(&cable));
        Ok(Box::new(end))
    }

    async fn ask(&self, request: Request) -> Result<(u16, Vec<u8>), String> {
        let name = request.base.strip_prefix("http://").unwrap_or(&request.base).to_owned();
        if name == "users" {
            return self.session();
        }
        let (end, cable) = self.net.connect(&name).map_err(|error| error.to_string())?;
        let lost = self.net.weather.rates().answer_lost;
        if lost > 0 && self.net.below(1000) < lost {
            self.net.trace.count("http answers lost");
            cable.cut_after(usize::try_from(self.net.below(200)).unwrap_or(0));
        }
        let answer = timeout(ANSWER_WITHIN, http::ask(end, &request)).await;
        answer.map_err(|_| "no answer in time".to_owned())?.map_err(|error| error.to_string())
    }
}
