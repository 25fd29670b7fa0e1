//! Endless sign-ins with wrong passwords, from one address and from many, while people sign in.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use protocol::SessionBody;
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Response, StatusCode};
use secret::Secret;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{People, Target, Wishes};
use crate::runs::percentiles;

/// Connections that try wrong passwords at the same time.
const CONNECTIONS: usize = 100;
/// People of each kind who sign in meanwhile.
const OF_EACH_KIND: usize = 12;
/// How long people talk before the attack, and during it.
const TALK: Duration = Duration::from_secs(15);
/// How long people wait between two sign-ins.
const PAUSE: Duration = Duration::from_secs(2);
/// How long a person tries to sign in before giving up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause before a refused attacker tries again: attackers and people share one machine's processors here.
const AWAY: Duration = Duration::from_millis(20);
/// The header in which a proxy names the client's address; the server is configured to trust it.
const FORWARDED: &str = "x-forwarded-for";
/// The address that half of the attackers and two kinds of people come from.
const SHARED: &str = "203.0.113.7";

/// The address and device that a person signs in from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// From an address of their own.
    Elsewhere,
    /// From the attackers' address, on a device that signed in before.
    SameDevice,
    /// From the attackers' address, on a new device.
    NewDevice,
}

/// The password of every account.
const PASSWORD: &str = "correct horse battery";

const KINDS: [Kind; 3] = [Kind::Elsewhere, Kind::SameDevice, Kind::NewDevice];

/// A person with an account.
#[derive(Debug)]
struct Person {
    kind: Kind,
    name: String,
    address: String,
    device_token: Option<Secret>,
}

/// How the sign-ins of one person went.
#[derive(Debug, Default)]
struct SignedIn {
    times_us: Vec<u64>,
    /// Number of answers that asked to retry later.
    put_off: usize,
    /// How often the person gave up.
    given_up: usize,
}

pub(super) async fn run(wishes: Wishes) -> Result<bool> {
    let mut target = Target::new(&wishes, "", &["--trusted-proxies", "1"]).await?;
    let people = People::begin(&target.endpoints(), 6, 20).await?;
    let base = format!("http://{}", target.address());
    let client = Client::builder().no_proxy().build()?;
    let mut crowd = Vec::new();
    for number in 0..OF_EACH_KIND * KINDS.len() {
        crowd.push(Person::new(&client, &base, number).await?);
    }
    let before = people.talk(TALK / 3).await?;
    let quiet = sign_in_all(&client, &base, &crowd, Duration::ZERO).await?;
    println!("before:  {before}; {:?} MiB", target.resident_mib());
    report(&quiet);

    let (stop, mut attackers) = (CancellationToken::new(), JoinSet::new());
    for number in 0..wishes.count.unwrap_or(CONNECTIONS) {
        attackers.spawn(stop.clone().run_until_cancelled_owned(attack(target.address(), number)));
    }
    let (during, attacked) = tokio::join!(people.talk(TALK), sign_in_all(&client, &base, &crowd, TALK));
    let (during, attacked) = (during?, attacked?);
    println!("during:  {during}; {:?} MiB", target.resident_mib());
    report(&attacked);
    target.alive()?;
    stop.cancel();
    attackers.join_all().await;
    let lost = people.lost().await?;
    println!("lost: {lost}");
    let given_up: usize = attacked.iter().map(|(_, signed)| signed.given_up).sum();
    Ok(lost == 0 && given_up == 0 && during.as_good_as(&before))
}

/// Tries one wrong password after another, until the task is aborted.
async fn attack(address: SocketAddr, number: usize) {
    let Ok(client) = Client::builder().no_proxy().build() else { return };
    let from = if number.is_multiple_of(2) { SHARED.to_owned() } else { format!("198.51.100.{}", number % 256) };
    let url = format!("http://{address}/v1/sessions");
    loop {
        let name = format!("nobody-{}", &Uuid::new_v4().simple().to_string()[..12]);
        let wrong = json!({ "name": name, "password": "wrong password" });
        let answer = client.post(&url).header(FORWARDED, &from).json(&wrong).send().await;
        if answer.is_ok_and(|answer| answer.status() == StatusCode::UNAUTHORIZED) {
            continue;
        }
        sleep(AWAY).await;
    }
}

impl Person {
    async fn new(client: &Client, base: &str, number: usize) -> Result<Self> {
        let kind = KINDS[number % KINDS.len()];
        let address = match kind {
            Kind::Elsewhere => format!("192.0.2.{number}"),
            Kind::SameDevice | Kind::NewDevice => SHARED.to_owned(),
        };
        let name = format!("person-{}", &Uuid::now_v7().simple().to_string()[16..]);
        let mut person = Self { kind, name, address, device_token: None };
        let wish = json!({ "name": person.name, "password": PASSWORD });
        let made = client.post(format!("{base}/v1/users")).header(FORWARDED, &person.address).json(&wish);
        ensure!(made.send().await?.status() == StatusCode::CREATED, "registration is refused");
        if kind == Kind::SameDevice {
            let session: SessionBody = person.ask(client, base).await?.error_for_status()?.json().await?;
            person.device_token = session.device_token;
            ensure!(person.device_token.is_some(), "no device token");
        }
        Ok(person)
    }

    async fn ask(&self, client: &Client, base: &str) -> Result<Response> {
        let mut body = json!({ "name": self.name, "password": PASSWORD });
        if let Some(token) = &self.device_token {
            body["device_token"] = token.expose().into();
        }
        let request = client.post(format!("{base}/v1/sessions")).header(FORWARDED, &self.address).json(&body);
        Ok(request.send().await?)
    }

    /// Signs in again and again until `until`, at least once; waits as long as the server asks for.
    async fn sign_in(&self, client: &Client, base: &str, until: Instant) -> Result<SignedIn> {
        let mut signed = SignedIn::default();
        loop {
            let begun = Instant::now();
            loop {
                let answer = self.ask(client, base).await?;
                if answer.status() == StatusCode::OK {
                    signed.times_us.push(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
                    break;
                }
                let later = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                let later = later.with_context(|| format!("refused for good: {}", answer.status()))?;
                signed.put_off += 1;
                if begun.elapsed() > PATIENCE {
                    signed.given_up += 1;
                    break;
                }
                sleep(Duration::from_secs(later)).await;
            }
            if Instant::now() + PAUSE >= until {
                return Ok(signed);
            }
            sleep(PAUSE).await;
        }
    }
}

/// All persons sign in at the same time, for that long. With a duration of zero they do so one after another: that
/// measures a sign-in without any competition.
async fn sign_in_all(client: &Client, base: &str, crowd: &[Person], time: Duration) -> Result<Vec<(Kind, SignedIn)>> {
    let until = Instant::now() + time;
    if time.is_zero() {
        let mut all = Vec::new();
        for person in crowd {
            all.push((person.kind, person.sign_in(client, base, until).await?));
        }
        return Ok(all);
    }
    let one = crowd.iter().map(|person| async move { Ok((person.kind, person.sign_in(client, base, until).await?)) });
    try_join_all(one).await
}

fn report(all: &[(Kind, SignedIn)]) {
    for kind in KINDS {
        let of_kind = || all.iter().filter(|(other, _)| *other == kind).map(|(_, signed)| signed);
        let times: Vec<u64> = of_kind().flat_map(|signed| signed.times_us.iter().copied()).collect();
        let (put_off, given_up): (usize, usize) =
            (of_kind().map(|signed| signed.put_off).sum(), of_kind().map(|signed| signed.given_up).sum());
        let served = of_kind().filter(|signed| !signed.times_us.is_empty()).count();
        println!(
            "  sign-ins, {kind:?}: {} by {served} of {OF_EACH_KIND} people, {}, {put_off} put off, {given_up} given up",
            times.len(),
            percentiles(&times)
        );
    }
}
