//! The user tables. The one writer makes each change whole: a name is free or taken, a secret current or not.

use std::ops::Bound;

use async_trait::async_trait;
use bytes::Bytes;
use domain::UserId;
use kv::Durability;
use uuid::Uuid;

use crate::embedded::change::{Changes, Slot};
use crate::embedded::codec::{Fields, Parse};
use crate::embedded::{EmbeddedStore, Kept, broken};
use crate::{Account, AccountCreated, Malformed, OutboxRow, Session, StoreError, UserStore};

/// Sessions that have ended and are removed when a new one begins: more than one, so that they cannot pile up.
const SWEPT_PER_SESSION: usize = 4;

#[async_trait]
impl UserStore for EmbeddedStore {
    async fn create_account(&self, account: &Account, event: &OutboxRow) -> Result<AccountCreated, StoreError> {
        let kept = self.kept()?.clone();
        let (account, event) = (account.clone(), event.clone());
        let change = self.change(Durability::Power, move |changes| {
            let id = account.id.as_bytes();
            match changes.get(&kept.names, account.name.as_bytes())? {
                Some(owner) if owner[..] != id[..] => return Ok(AccountCreated::NameTaken),
                // A retry: the account stands.
                Some(_) => {}
                None => {
                    changes.put(&kept.names, account.name.as_bytes().to_vec(), id.to_vec());
                    changes.put(&kept.accounts, id.to_vec(), encode_account(&account));
                }
            }
            changes.put(&kept.outbox, event.id.to_vec(), encode_outbox(&event));
            Ok(AccountCreated::Created)
        });
        change.await
    }

    async fn account(&self, id: UserId) -> Result<Option<Account>, StoreError> {
        let found = self.kept()?.accounts.table.get(id.as_bytes()).map_err(broken)?;
        Ok(found.map(|value| decode_account(id, &value)).transpose()?)
    }

    async fn account_by_name(&self, name: &str) -> Result<Option<Account>, StoreError> {
        let Some(id) = self.kept()?.names.table.get(name.as_bytes()).map_err(broken)? else { return Ok(None) };
        let id = user(&id).ok_or(Malformed { table: "names", column: "user" })?;
        self.account(id).await
    }

    async fn create_session(&self, session: &Session) -> Result<(), StoreError> {
        let (kept, session) = (self.kept()?.clone(), session.clone());
        let now_ms = self.shared.clock.now_ms();
        let change = self.change(Durability::Power, move |changes| {
            sweep_sessions(changes, &kept, now_ms)?;
            put_session(changes, &kept, &session)
        });
        change.await
    }

    async fn session(&self, id: &[u8; 16]) -> Result<Option<Session>, StoreError> {
        let found = self.kept()?.sessions.table.get(id).map_err(broken)?;
        Ok(found.map(|value| decode_session(*id, &value)).transpose()?)
    }

    async fn rotate_session(&self, expected: &[u8; 32], session: &Session) -> Result<bool, StoreError> {
        let (kept, expected, session) = (self.kept()?.clone(), *expected, session.clone());
        let change = self.change(Durability::Power, move |changes| {
            let Some(value) = changes.get(&kept.sessions, &session.id)? else { return Ok(false) };
            if decode_session(session.id, &value)?.secret_hash != expected {
                return Ok(false);
            }
            put_session(changes, &kept, &session)?;
            Ok(true)
        });
        change.await
    }

    async fn delete_session(&self, id: &[u8; 16]) -> Result<(), StoreError> {
        let (kept, id) = (self.kept()?.clone(), *id);
        self.change(Durability::Power, move |changes| remove_session(changes, &kept, id)).await
    }

    async fn add_outbox(&self, event: &OutboxRow) -> Result<(), StoreError> {
        let (outbox, event) = (self.kept()?.outbox.clone(), event.clone());
        let change = self.change(Durability::Power, move |changes| {
            changes.put(&outbox, event.id.to_vec(), encode_outbox(&event));
            Ok(())
        });
        change.await
    }

    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        let pairs = self.kept()?.outbox.table.scan(Bound::Unbounded, Bound::Unbounded, limit).map_err(broken)?;
        Ok(pairs.iter().map(|(key, value)| decode_outbox(key, value)).collect::<Result<_, _>>()?)
    }

    async fn remove_outbox(&self, id: &[u8; 16]) -> Result<(), StoreError> {
        let (outbox, id) = (self.kept()?.outbox.clone(), *id);
        let change = self.change(Durability::Power, move |changes| {
            changes.remove(&outbox, id.to_vec());
            Ok(())
        });
        change.await
    }
}

/// Sets a session and its place in the order of ends.
fn put_session(changes: &mut Changes, kept: &Kept, session: &Session) -> Result<(), StoreError> {
    remove_session(changes, kept, session.id)?;
    changes.put(&kept.sessions, session.id.to_vec(), encode_session(session));
    changes.put(&kept.session_ends, end_key(session.expires_ms, session.id), Bytes::new());
    Ok(())
}

fn remove_session(changes: &mut Changes, kept: &Kept, id: [u8; 16]) -> Result<(), StoreError> {
    if let Some(value) = changes.get(&kept.sessions, &id)? {
        let session = decode_session(id, &value)?;
        changes.remove(&kept.session_ends, end_key(session.expires_ms, id));
        changes.remove(&kept.sessions, id.to_vec());
    }
    Ok(())
}

/// Removes some sessions that have ended, so that they stay in proportion to those that begin.
fn sweep_sessions(changes: &mut Changes, kept: &Kept, now_ms: i64) -> Result<(), StoreError> {
    for key in ended(&kept.session_ends, now_ms)? {
        let Some(id) = key.get(8..).and_then(|id| <[u8; 16]>::try_from(id).ok()) else { continue };
        // A change earlier in this batch may have given it a new end.
        let session = changes.get(&kept.sessions, &id)?.map(|value| decode_session(id, &value)).transpose()?;
        if session.is_none_or(|session| session.expires_ms < now_ms) {
            remove_session(changes, kept, id)?;
            changes.remove(&kept.session_ends, key.clone());
        }
    }
    Ok(())
}

fn ended(session_ends: &Slot, now_ms: i64) -> Result<Vec<Bytes>, StoreError> {
    let now = now_ms.max(0).to_be_bytes();
    let pairs = session_ends.table.scan(Bound::Unbounded, Bound::Excluded(&now), SWEPT_PER_SESSION).map_err(broken)?;
    Ok(pairs.into_iter().map(|(key, _)| key).collect())
}

fn end_key(expires_ms: i64, id: [u8; 16]) -> Vec<u8> {
    [&expires_ms.max(0).to_be_bytes()[..], &id].concat()
}

fn encode_account(account: &Account) -> Vec<u8> {
    let fields = Fields::default().bytes(account.name.as_bytes()).bytes(account.display_name.as_bytes());
    fields.bytes(account.password_hash.as_bytes()).number(account.created_ms).finish()
}

fn decode_account(id: UserId, value: &[u8]) -> Result<Account, Malformed> {
    let mut fields = Parse::new("accounts", value);
    Ok(Account {
        id,
        name: fields.text("name")?,
        display_name: fields.text("display_name")?,
        password_hash: fields.text("password_hash")?,
        created_ms: fields.number("created")?,
    })
}

fn encode_session(session: &Session) -> Vec<u8> {
    let fields = Fields::default().bytes(session.user.as_bytes()).bytes(&session.secret_hash);
    fields.number(session.expires_ms).finish()
}

fn decode_session(id: [u8; 16], value: &[u8]) -> Result<Session, Malformed> {
    let mut fields = Parse::new("sessions", value);
    let user = user(fields.bytes("user")?).ok_or(Malformed { table: "sessions", column: "user" })?;
    Ok(Session { id, user, secret_hash: fields.array("secret_hash")?, expires_ms: fields.number("expires")? })
}

fn encode_outbox(event: &OutboxRow) -> Vec<u8> {
    let fields = Fields::default().bytes(event.user.as_bytes()).bytes(event.account_name.as_bytes());
    fields.bytes(&event.payload).finish()
}

fn decode_outbox(key: &[u8], value: &[u8]) -> Result<OutboxRow, Malformed> {
    let malformed = |column| Malformed { table: "outbox", column };
    let mut fields = Parse::new("outbox", value);
    Ok(OutboxRow {
        id: key.try_into().map_err(|_| malformed("id"))?,
        user: user(fields.bytes("user")?).ok_or(malformed("user"))?,
        account_name: fields.text("account_name")?,
        payload: fields.bytes("payload")?.to_vec(),
    })
}

fn user(bytes: &[u8]) -> Option<UserId> {
    UserId::try_from(Uuid::from_slice(bytes).ok()?).ok()
}
