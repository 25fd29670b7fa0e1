//! Sessions. The single writer makes each change atomic: a secret is either current or not, a session exists or
//! has ended.

use std::ops::Bound;

use async_trait::async_trait;
use bytes::Bytes;
use domain::UserId;
use kv::Durability;

use crate::embedded::change::{Changes, RankedTable};
use crate::embedded::codec::{Fields, Parse};
use crate::embedded::users::user;
use crate::embedded::{EmbeddedStore, Kept, broken};
use crate::{ENDED_BUCKET_MS, ListedSession, Malformed, Session, SessionStore, StoreError, TokenFamily};

/// Expired sessions that are removed when a session begins: more than one, so that they cannot accumulate.
const SWEPT_PER_SESSION: usize = 4;

/// How many buckets the lists of ended sessions are kept for; older ones are removed when further sessions end.
const ENDED_KEPT_BUCKETS: i64 = 120;
/// Old entries of ended sessions that are removed when one ends: more than one, so that they cannot accumulate.
const SWEPT_PER_END: usize = 4;

#[async_trait]
impl SessionStore for EmbeddedStore {
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
        let found = self.get(&self.kept()?.sessions, id)?;
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

    async fn end_session(&self, user: UserId, id: &[u8; 16], now_ms: i64) -> Result<(), StoreError> {
        let (kept, id, bucket) = (self.kept()?.clone(), *id, now_ms.div_euclid(ENDED_BUCKET_MS));
        let change = self.change(Durability::Power, move |changes| {
            sweep_ended(changes, &kept, bucket)?;
            changes.put(&kept.ended_sessions, bucket_key(bucket, Some(id)), Bytes::new());
            remove_session(changes, &kept, id)?;
            changes.remove(&kept.listed_sessions, listed_key(user, id));
            Ok(())
        });
        change.await
    }

    async fn ended_sessions(&self, bucket: i64) -> Result<Vec<[u8; 16]>, StoreError> {
        let (from, to) = (bucket_key(bucket, None), bucket_key(bucket + 1, None));
        let table = &self.kept()?.ended_sessions;
        let pairs = self.scan(table, Bound::Included(&from), Bound::Excluded(&to), usize::MAX)?;
        let malformed = || Malformed { table: "ended_sessions", column: "id" };
        let id = |key: &Bytes| key.get(8..).and_then(|id| id.try_into().ok()).ok_or_else(malformed);
        Ok(pairs.iter().map(|(key, _)| id(key)).collect::<Result<_, _>>()?)
    }

    async fn list_session(&self, user: UserId, row: &ListedSession) -> Result<(), StoreError> {
        let (listed, row) = (self.kept()?.listed_sessions.clone(), row.clone());
        let change = self.change(Durability::Power, move |changes| {
            changes.put(&listed, listed_key(user, row.id), encode_listed(&row));
            Ok(())
        });
        change.await
    }

    async fn sessions_of(&self, user: UserId) -> Result<Vec<ListedSession>, StoreError> {
        let (from, to) = (listed_key(user, [0; 16]), listed_key(user, [255; 16]));
        let table = &self.kept()?.listed_sessions;
        let pairs = self.scan(table, Bound::Included(&from), Bound::Included(&to), usize::MAX)?;
        Ok(pairs.iter().map(|(key, value)| decode_listed(key, value)).collect::<Result<_, _>>()?)
    }

    async fn cut_sessions(&self, user: UserId, at_ms: i64) -> Result<(), StoreError> {
        let cuts = self.kept()?.session_cuts.clone();
        let change = self.change(Durability::Power, move |changes| {
            changes.put(&cuts, user.as_bytes().to_vec(), at_ms.to_be_bytes().to_vec());
            Ok(())
        });
        change.await
    }

    async fn sessions_cut(&self, user: UserId) -> Result<Option<i64>, StoreError> {
        let Some(value) = self.get(&self.kept()?.session_cuts, user.as_bytes())? else {
            return Ok(None);
        };
        let malformed = Malformed { table: "session_cuts", column: "at" };
        Ok(Some(i64::from_be_bytes(value.as_ref().try_into().map_err(|_| malformed)?)))
    }
}

/// Stores a session and its row in the order of expiry.
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

/// Removes some expired sessions, so that their number stays in proportion to the new ones.
fn sweep_sessions(changes: &mut Changes, kept: &Kept, now_ms: i64) -> Result<(), StoreError> {
    for key in ended(&kept.session_ends, now_ms)? {
        let Some(id) = key.get(8..).and_then(|id| <[u8; 16]>::try_from(id).ok()) else { continue };
        // An earlier change of this batch may have extended it.
        let session = changes.get(&kept.sessions, &id)?.map(|value| decode_session(id, &value)).transpose()?;
        if session.as_ref().is_none_or(|session| session.expires_ms < now_ms) {
            if let Some(session) = session {
                changes.remove(&kept.listed_sessions, listed_key(session.user, id));
            }
            remove_session(changes, kept, id)?;
            changes.remove(&kept.session_ends, key.clone());
        }
    }
    Ok(())
}

fn ended(session_ends: &RankedTable, now_ms: i64) -> Result<Vec<Bytes>, StoreError> {
    let now = now_ms.max(0).to_be_bytes();
    let pairs = session_ends.table.scan(Bound::Unbounded, Bound::Excluded(&now), SWEPT_PER_SESSION).map_err(broken)?;
    Ok(pairs.into_iter().map(|(key, _)| key).collect())
}

fn end_key(expires_ms: i64, id: [u8; 16]) -> Vec<u8> {
    [&expires_ms.max(0).to_be_bytes()[..], &id].concat()
}

/// Removes some entries of sessions that ended long ago.
fn sweep_ended(changes: &mut Changes, kept: &Kept, bucket: i64) -> Result<(), StoreError> {
    let before = bucket_key(bucket - ENDED_KEPT_BUCKETS, None);
    let ended = &kept.ended_sessions;
    let old = ended.table.scan(Bound::Unbounded, Bound::Excluded(&before), SWEPT_PER_END).map_err(broken)?;
    for (key, _) in old {
        changes.remove(ended, key);
    }
    Ok(())
}

/// The key of an ended session in a bucket; without an id, the first key of the bucket.
fn bucket_key(bucket: i64, id: Option<[u8; 16]>) -> Vec<u8> {
    let mut key = bucket.max(0).to_be_bytes().to_vec();
    key.extend(id.into_iter().flatten());
    key
}

fn listed_key(user: UserId, id: [u8; 16]) -> Vec<u8> {
    [&user.as_bytes()[..], &id].concat()
}

fn encode_listed(row: &ListedSession) -> Vec<u8> {
    Fields::default().bytes(row.label.as_bytes()).number(row.begun_ms).number(row.used_ms).finish()
}

fn decode_listed(key: &[u8], value: &[u8]) -> Result<ListedSession, Malformed> {
    let mut fields = Parse::new("listed_sessions", value);
    let malformed = Malformed { table: "listed_sessions", column: "id" };
    Ok(ListedSession {
        id: key.get(16..).and_then(|id| id.try_into().ok()).ok_or(malformed)?,
        label: fields.text("label")?,
        begun_ms: fields.number("begun")?,
        used_ms: fields.number("used")?,
    })
}

fn encode_session(session: &Session) -> Vec<u8> {
    let fields = Fields::default().bytes(session.user.as_bytes()).bytes(&session.secret_hash);
    let fields = fields.number(session.expires_ms);
    match &session.family {
        Some(family) => fields.bytes(&family.to_bytes()).finish(),
        None => fields.finish(),
    }
}

fn decode_session(id: [u8; 16], value: &[u8]) -> Result<Session, Malformed> {
    let mut fields = Parse::new("sessions", value);
    let user = user(fields.bytes("user")?).ok_or(Malformed { table: "sessions", column: "user" })?;
    let (secret_hash, expires_ms) = (fields.array("secret_hash")?, fields.number("expires")?);
    let family = match fields.at_end() {
        true => None,
        false => Some(TokenFamily::from_bytes(fields.bytes("token_family")?)?),
    };
    Ok(Session { id, user, secret_hash, expires_ms, family })
}
