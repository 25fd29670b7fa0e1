//! Signing in: a name and a password for a session, in fair shares.

use std::net::IpAddr;
use std::time::Duration;

use api::ApiError;
use events::AccountEvent;
use process::TraceParent;
use protocol::{Credentials, ErrorCode, SessionBody};
use store::Account;

use crate::app::{App, store_failed};
use crate::fields::Password;
use crate::metrics::Outcome;
use crate::passwords::Verdict;
use crate::queue::Turn;
use crate::rate_limits::Attempt;
use crate::refresh_token::RefreshToken;
use crate::{device, fields};

impl App {
    pub(crate) async fn sign_in(
        &self,
        credentials: Credentials,
        network: IpAddr,
        trace: TraceParent,
    ) -> Result<SessionBody, ApiError> {
        let Credentials { name, password, device_token, label } = credentials;
        let label = fields::label(label.as_deref())?;
        // An invalid name belongs to no account, and that takes equally long to find.
        let name = fields::name(&name).unwrap_or_default();
        let device = device_token.and_then(|token| device::of_token(&token, &name, &self.keys));
        let attempt = Attempt { name, network, device };
        let account = self.authenticate(&attempt, password.into()).await?;
        let device = device.unwrap_or_else(|| self.entropy.bytes());
        let device_token = device::token(device, &account.name, &self.keys);
        let session = self.begin_session(account, label, trace).await?;
        Ok(SessionBody { device_token: Some(device_token), ..session })
    }

    /// The account with that name and password. The refusal does not show which was wrong, neither in words nor in
    /// time.
    pub(crate) async fn authenticate(&self, attempt: &Attempt, password: Password) -> Result<Account, ApiError> {
        self.rate_limits.look(attempt).map_err(|wait| self.limited(wait))?;
        // Charged only afterwards: an attempt that is answered `busy` was not judged.
        let turn = self.passwords.turn(self.rate_limits.of(attempt), &attempt.name).await?;
        self.rate_limits.take(attempt).map_err(|wait| self.limited(wait))?;
        let judged = self.account_if_right(turn, &attempt.name, password).await;
        if judged.is_err() {
            self.rate_limits.give_back(attempt);
        }
        let Some(account) = judged? else {
            self.metrics.sign_ins.get_or_create(&Outcome::Refused.into()).inc();
            if self.rate_limits.log() {
                // Never what was typed: people type passwords into the wrong field. Only a text in the form of a name
                // is logged.
                tracing::warn!(name = attempt.name, address = %attempt.network, "sign-in refused");
            }
            return Err(ApiError::new(ErrorCode::WrongCredentials, "the name or the password is wrong"));
        };
        self.rate_limits.forgive(attempt);
        Ok(account)
    }

    fn limited(&self, wait: Duration) -> ApiError {
        self.metrics.sign_ins.get_or_create(&Outcome::Limited.into()).inc();
        ApiError::new(ErrorCode::RateLimited, "too many failed attempts: wait a little").after(wait)
    }

    /// The account of that name, if this is its password. An error means that the attempt was not judged.
    async fn account_if_right(&self, turn: Turn, name: &str, password: Password) -> Result<Option<Account>, ApiError> {
        let account = match name {
            "" => None,
            name => self.store.account_by_name(name).await.map_err(store_failed)?,
        };
        let hash = account.as_ref().map(|account| account.password_hash.as_str());
        match (self.passwords.verify(turn, password, hash).await?, account) {
            (Verdict::Right, Some(account)) => Ok(Some(account)),
            (Verdict::RightAsTyped(newer), Some(account)) => {
                // Not set when another sign-in or a new password was faster: the session's beginning checks again.
                let set = self.store.set_password(account.id, &account.password_hash, &newer).await;
                Ok(Some(if set.map_err(store_failed)? { Account { password_hash: newer, ..account } } else { account }))
            }
            _ => Ok(None),
        }
    }

    async fn begin_session(
        &self,
        account: Account,
        label: String,
        trace: TraceParent,
    ) -> Result<SessionBody, ApiError> {
        let token = RefreshToken::new(self.entropy.bytes(), &self.entropy);
        self.list_new(account.id, token.session, label, trace).await?;
        // The event first: a session whose event was lost would never be announced; an event too many tells the user of
        // an attempt that had the right password.
        self.outbox.add(&account, &AccountEvent::SessionStarted, trace).await.map_err(store_failed)?;
        self.store.create_session(&self.session(account.id, &token)).await.map_err(store_failed)?;
        // A change of the password ends the sessions that exist by then: this one is among them, or sees the new
        // password.
        let now = self.store.account(account.id).await.map_err(store_failed)?;
        if now.is_none_or(|now| now.password_hash != account.password_hash) {
            self.end(account.id, &token.session, trace).await?;
            return Err(ApiError::new(ErrorCode::Retry, "the password was changed a moment ago: sign in again"));
        }
        self.metrics.sign_ins.get_or_create(&Outcome::Done.into()).inc();
        self.session_body(account, &token)
    }
}

impl From<secret::Secret> for Password {
    fn from(typed: secret::Secret) -> Self {
        Self::new(typed)
    }
}

#[cfg(test)]
mod tests {
    use auth::{EndedSessions, KeyRing, SigningKey};
    use environment::{Clock, Entropy};
    use eventlog::embedded::EmbeddedLog;
    use events::Codec;
    use futures_util::FutureExt;
    use kv::Database;
    use process::{Metrics, Readiness};
    use secret::Secret;
    use store::embedded::EmbeddedStore;

    use super::*;
    use crate::queue::{Share, WAITING_MAX};
    use crate::{Config, Deps, PasswordCost, app};

    #[tokio::test]
    async fn attempts_that_find_the_service_busy_count_for_nothing() {
        let (clock, entropy) = (Clock::system(), Entropy::seeded(1));
        let deps = Deps {
            store: EmbeddedStore::open(Database::in_memory(), clock.clone()).await.unwrap(),
            log: EmbeddedLog::open(Database::in_memory(), clock.clone()).await.unwrap(),
            codec: Codec::compiled_in(),
            keys: KeyRing::of(SigningKey::generate(&entropy).unwrap(), &clock, &entropy).unwrap(),
            clock,
            entropy,
            ended: EndedSessions::default(),
            metrics: Metrics::new(),
            readiness: Readiness::default(),
        };
        let config = Config { password_cost: PasswordCost::LEAST, hashes_at_once: 1, ..Config::default() };
        let (app, _relay) = app::build(&config, deps).unwrap();
        let network = IpAddr::from([192, 0, 2, 1]);
        let ada = Attempt { name: "ada".into(), network, device: None };
        let attempt = async || {
            let refused = app.authenticate(&ada, Secret::new("password").into()).await.unwrap_err();
            (refused.code, refused.retry_after)
        };
        let turn = app.passwords.turn(Share::Address(network), "other").await.unwrap();
        let mut crowd: Vec<_> =
            (0..WAITING_MAX).map(|_| Box::pin(app.passwords.turn(Share::Address(network), "other"))).collect();
        assert!(crowd.iter_mut().all(|waits| waits.now_or_never().is_none()));
        for _ in 0..100 {
            let (code, wait) = attempt().await;
            assert_eq!(code, ErrorCode::Busy);
            assert!(wait.is_some_and(|wait| wait > Duration::from_secs(1)), "as long as the queue is: {wait:?}");
        }
        drop((crowd, turn));
        assert_eq!(attempt().await.0, ErrorCode::WrongCredentials);
    }
}
