//! Accounts and the outbox. The single writer makes each change atomic: a name is either free or taken.

use std::ops::Bound;

use async_trait::async_trait;
use domain::UserId;
use kv::Durability;
use uuid::Uuid;

use crate::embedded::EmbeddedStore;
use crate::embedded::codec::{Fields, Parse};
use crate::{Account, AccountCreated, Audience, Malformed, OutboxRow, Privacy, PrivacyUpdate, StoreError, UserStore};

#[async_trait]
impl UserStore for EmbeddedStore {
    async fn create_account(&self, account: &Account, event: &OutboxRow) -> Result<AccountCreated, StoreError> {
        let kept = self.kept()?.clone();
        let (account, event) = (account.clone(), event.clone());
        let change = self.change(Durability::Power, move |changes| {
            let id = account.id.as_bytes();
            match changes.get(&kept.names, account.name.as_bytes())? {
                Some(owner) if owner[..] != id[..] => return Ok(AccountCreated::NameTaken),
                // A retry: the account exists already.
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
        let found = self.get(&self.kept()?.accounts, id.as_bytes())?;
        Ok(found.map(|value| decode_account(id, &value)).transpose()?)
    }

    async fn accounts(&self, ids: &[UserId]) -> Result<Vec<Option<Account>>, StoreError> {
        let mut accounts = Vec::with_capacity(ids.len());
        for id in ids {
            accounts.push(self.account(*id).await?);
        }
        Ok(accounts)
    }

    async fn account_by_name(&self, name: &str) -> Result<Option<Account>, StoreError> {
        let Some(id) = self.get(&self.kept()?.names, name.as_bytes())? else { return Ok(None) };
        let id = user(&id).ok_or(Malformed { table: "names", column: "user" })?;
        self.account(id).await
    }

    async fn set_password(&self, user: UserId, expected: &str, hash: &str) -> Result<bool, StoreError> {
        let (kept, expected, hash) = (self.kept()?.clone(), expected.to_owned(), hash.to_owned());
        let change = self.change(Durability::Power, move |changes| {
            let Some(value) = changes.get(&kept.accounts, user.as_bytes())? else { return Ok(false) };
            let account = decode_account(user, &value)?;
            if account.password_hash != expected {
                return Ok(false);
            }
            let account = Account { password_hash: hash, ..account };
            changes.put(&kept.accounts, user.as_bytes().to_vec(), encode_account(&account));
            Ok(true)
        });
        change.await
    }

    async fn privacy(&self, user: UserId) -> Result<Privacy, StoreError> {
        let found = self.get(&self.kept()?.privacy, user.as_bytes())?;
        Ok(found.map(|value| decode_privacy(&value)).transpose()?.unwrap_or_default())
    }

    async fn set_privacy(&self, user: UserId, change: PrivacyUpdate) -> Result<(), StoreError> {
        let table = self.kept()?.privacy.clone();
        let change = self.change(Durability::Power, move |changes| {
            let known = changes.get(&table, user.as_bytes())?.map(|value| decode_privacy(&value)).transpose()?;
            let Privacy { presence, invisible } = known.unwrap_or_default();
            let presence = change.presence.unwrap_or(presence);
            let changed = Privacy { presence, invisible: change.invisible.unwrap_or(invisible) };
            changes.put(&table, user.as_bytes().to_vec(), encode_privacy(changed));
            Ok(())
        });
        change.await
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
        let pairs = self.scan(&self.kept()?.outbox, Bound::Unbounded, Bound::Unbounded, limit)?;
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

fn encode_privacy(privacy: Privacy) -> Vec<u8> {
    let fields = Fields::default().bytes(privacy.presence.name().as_bytes());
    fields.number(i64::from(privacy.invisible)).finish()
}

fn decode_privacy(value: &[u8]) -> Result<Privacy, Malformed> {
    let mut fields = Parse::new("privacy", value);
    // What a newer program calls otherwise is shown to nobody.
    let presence = Audience::from_name(&fields.text("presence")?).unwrap_or(Audience::Nobody);
    Ok(Privacy { presence, invisible: fields.number("invisible")? != 0 })
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

pub(super) fn user(bytes: &[u8]) -> Option<UserId> {
    UserId::try_from(Uuid::from_slice(bytes).ok()?).ok()
}
