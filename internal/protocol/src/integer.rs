//! Deserializing the integer fields of bodies and frames.
//!
//! JSON has one type of number, and JSON Schema counts `1.0` and `1e0` as integers: some languages write every
//! number like that. serde reads them as floating point and refuses them where an integer is expected. So every
//! integer field of this crate uses [`integer`] (or [`maybe`]), and a test writes each of them as a float.

use std::fmt;
use std::marker::PhantomData;

use domain::Seq;
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// Up to this number, a 64-bit float represents every integer exactly.
const EXACT_MAX: u64 = 1 << 53;

/// A type that an integer field can have.
pub(crate) trait Whole: Sized {
    /// The number as this type; `None` when it is out of range.
    fn of(number: i128) -> Option<Self>;
}

impl Whole for u32 {
    fn of(number: i128) -> Option<Self> {
        number.try_into().ok()
    }
}

impl Whole for u64 {
    fn of(number: i128) -> Option<Self> {
        number.try_into().ok()
    }
}

impl Whole for i64 {
    fn of(number: i128) -> Option<Self> {
        number.try_into().ok()
    }
}

impl Whole for Seq {
    fn of(number: i128) -> Option<Self> {
        Self::try_from(u64::try_from(number).ok()?).ok()
    }
}

/// Deserializes an integer, in any notation that JSON allows.
///
/// # Errors
/// When it is not a whole number, or is out of the field's range.
pub(crate) fn integer<'de, D: Deserializer<'de>, T: Whole>(json: D) -> Result<T, D::Error> {
    json.deserialize_any(Integer(PhantomData))
}

/// As [`integer`], for a field that may be absent or `null`.
///
/// # Errors
/// As [`integer`].
pub(crate) fn maybe<'de, D: Deserializer<'de>, T: Whole>(json: D) -> Result<Option<T>, D::Error> {
    struct Given<T>(T);

    impl<'de, T: Whole> Deserialize<'de> for Given<T> {
        fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
            integer(json).map(Self)
        }
    }

    Ok(Option::<Given<T>>::deserialize(json)?.map(|Given(number)| number))
}

struct Integer<T>(PhantomData<T>);

impl<T: Whole> Visitor<'_> for Integer<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number in the range of this field")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        T::of(number.into()).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        T::of(number.into()).ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
    }

    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // exact: a whole number within 53 bits
    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        let exact = number.fract() == 0.0 && number.abs() <= EXACT_MAX as f64;
        let whole = exact.then_some(number as i64).and_then(|whole| T::of(whole.into()));
        whole.ok_or_else(|| E::invalid_value(Unexpected::Float(number), &self))
    }
}

#[cfg(test)]
mod tests {
    use domain::{ConversationId, Cursor, UserId};
    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        ClientFrame, ConversationBody, FeedFrame, FeedKind, HistoryPage, MarkUpTo, OutcomeBody, Received, ServerFrame,
        SessionBody, StandsName, SyncPage, VersionPage,
    };

    const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    fn conversation() -> ConversationId {
        "01890a5d-ac96-874b-bcce-b302099a8057".parse().unwrap()
    }

    fn user() -> UserId {
        ID.parse().unwrap()
    }

    fn seq(number: u64) -> Seq {
        Seq::try_from(number).unwrap()
    }

    /// Writes every number with a decimal point; returns how many there are.
    fn floats(value: &mut Value) -> usize {
        match value {
            Value::Number(number) => {
                let float = number.as_f64().unwrap();
                *value = Value::from(float);
                1
            }
            Value::Array(values) => values.iter_mut().map(floats).sum(),
            Value::Object(fields) => fields.values_mut().map(floats).sum(),
            _ => 0,
        }
    }

    #[track_caller]
    fn taken<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(sample: &T, numbers: usize) {
        let mut value = serde_json::to_value(sample).unwrap();
        assert_eq!(floats(&mut value), numbers, "{value}");
        let text = value.to_string();
        assert_eq!(text.matches(".0").count() - text.matches("0.1.2.0").count(), numbers, "{text}");
        assert_eq!(serde_json::from_str::<T>(&text).unwrap(), *sample, "{text}");
    }

    #[test]
    fn an_integer_may_be_written_with_a_point_in_every_body_and_frame() {
        let (id, conversation, user) = (ID.parse().unwrap(), conversation(), user());
        let cursor: Cursor = "0.1.2.0000000000000003".parse().unwrap();
        taken(&MarkUpTo { seq: seq(7) }, 1);
        taken(&ClientFrame::Mark { conversation, seq: seq(7) }, 1);
        taken(&ServerFrame::MarkAck { conversation, seq: seq(7) }, 1);
        taken(&ServerFrame::Welcome { cursor, user, partition: 5, reset: None, ping_ms: 30_000, r#move: None }, 2);
        let stands = StandsName::Message;
        let feed = [
            (FeedFrame::Settled { conversation, seq: seq(7), id, first_seq: seq(5), stands }, 2),
            (FeedFrame::Read { conversation, user, mark: seq(7), ordinal: 3 }, 2),
            (FeedFrame::Account { event: "registered".into(), time: 12 }, 1),
            (
                FeedFrame::Refused {
                    conversation,
                    seq: seq(7),
                    id,
                    reason: crate::ErrorCode::NotMember,
                    message: String::new(),
                },
                1,
            ),
            (
                FeedFrame::Event {
                    conversation,
                    seq: seq(7),
                    id,
                    author: user,
                    time: 12,
                    ordinal: Some(3),
                    what: FeedKind::Left { user, owner: None },
                },
                3,
            ),
        ];
        for (frame, numbers) in feed {
            taken(&Received { cursor, frame }, numbers);
        }
    }

    #[test]
    fn so_may_the_integers_of_answers() {
        let entry = json!({"seq": 7, "id": ID, "author": ID, "time": 12, "kind": "message", "ordinal": 3, "changed": 8,
            "body": "x", "edited": 13, "quote": {"from": 1, "to": 2}});
        let history: HistoryPage =
            serde_json::from_value(json!({"head": 9, "entries": [entry], "more": false})).unwrap();
        taken(&history, 8);
        let (mark, id) = (json!({"seq": 7, "ordinal": 3}), conversation());
        let listed: ConversationBody = serde_json::from_value(json!({"id": id, "kind": "group", "title": "",
            "head": 9, "time": 12, "unread": 4, "mentions": 2, "mark": mark, "last_message": entry}))
        .unwrap();
        taken(&listed, 13);
        let versions: VersionPage =
            serde_json::from_value(json!({"versions": [{"seq": 7, "time": 12, "body": "x"}], "more": false})).unwrap();
        taken(&versions, 2);
        let found = json!({"id": id, "state": "ready", "member": true, "changed": 5, "head": 9, "mark": mark});
        let sync: SyncPage = serde_json::from_value(json!({"conversations": [found], "complete": true})).unwrap();
        taken(&sync, 4);
        let outcome = json!({"id": ID, "outcome": "settled", "seq": 7, "stands": "message"});
        taken(&serde_json::from_value::<OutcomeBody>(outcome).unwrap(), 1);
        let user = json!({"id": ID, "name": "ann", "display_name": "Ann", "created": 12});
        let session = json!({"access_token": "a", "expires_in": 900, "refresh_token": "b", "user": user});
        taken(&serde_json::from_value::<SessionBody>(session).unwrap(), 2);
    }

    #[test]
    fn what_is_no_integer_of_the_field_is_refused() {
        let of = |text: &str| serde_json::from_str::<MarkUpTo>(&format!(r#"{{"seq":{text}}}"#)).map(|mark| mark.seq);
        for good in ["1", "1.0", "1e0", "10e-1", "1125899906842623", "1125899906842623.0"] {
            assert!(of(good).is_ok(), "{good}: {:?}", of(good));
        }
        assert_eq!(of("1125899906842623.0").unwrap().get(), 1_125_899_906_842_623);
        for bad in ["-1", "-1.0", "1.5", "1e400", "1e300", "18446744073709551616", "9007199254740993", "true", "null"] {
            assert!(of(bad).is_err(), "{bad}: {:?}", of(bad));
        }
        assert!(of(r#""1""#).is_err() && of("[1]").is_err());
    }
}
