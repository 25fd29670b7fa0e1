//! Records of `chat.deliveries`, which the websocket service reads by the hundred thousand a second: so they are
//! decoded here by hand, without intermediate values. A test compares this with the library.

use std::fmt;

use domain::{ConversationId, Seq, UserId};
use uuid::Uuid;

use crate::codec::{Codec, DecodeError, Encoded, Header};
use crate::convert::{id, misplaced, seq};
use crate::records::{DeliveryV1, SchemaKind};

/// The bytes of an id.
const ID_BYTES: usize = 16;
/// The most bytes of a number: seven bits each.
const NUMBER_BYTES_MAX: u32 = 10;

/// A record of `chat.deliveries`. Debug output shows only the frame's length, because its text may be what a user
/// wrote.
#[derive(Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The recipients; all of them belong to the record's partition.
    pub recipients: Vec<UserId>,
    /// The conversation and seq of the event, by which a client drops duplicates.
    pub event_key: Option<(ConversationId, Seq)>,
    /// The socket frame as JSON, without its cursor.
    pub frame: String,
}

/// As [`Delivery`]; the frame is that of the record's own bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct DeliveryRef<'p> {
    /// The recipients; all of them belong to the record's partition.
    pub recipients: Vec<UserId>,
    /// The conversation and seq of the event, by which a client drops duplicates.
    pub event_key: Option<(ConversationId, Seq)>,
    /// The socket frame as JSON, without its cursor.
    pub frame: &'p str,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { recipients, event_key, frame } = self;
        let frame = format_args!("[frame of {} bytes]", frame.len());
        f.debug_struct("Delivery")
            .field("recipients", recipients)
            .field("place", event_key)
            .field("frame", &frame)
            .finish()
    }
}

impl fmt::Debug for DeliveryRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.clone().into_owned().fmt(f)
    }
}

impl DeliveryRef<'_> {
    /// The same, with a frame of its own.
    #[must_use]
    pub fn into_owned(self) -> Delivery {
        let Self { recipients, event_key, frame } = self;
        Delivery { recipients, event_key, frame: frame.to_owned() }
    }
}

impl Codec {
    /// Encodes a delivery.
    #[must_use]
    pub fn delivery(&self, delivery: &Delivery) -> Encoded {
        let record = DeliveryV1 {
            recipients: delivery.recipients.iter().map(UserId::uuid).collect(),
            conversation: delivery.event_key.map(|(conversation, _)| conversation.uuid()),
            seq: delivery.event_key.map(|(_, seq)| seq.timestamp()),
            frame: delivery.frame.clone(),
        };
        self.encode(SchemaKind::DeliveryV1, &record)
    }

    /// Decodes a record of `chat.deliveries`; `None` for genesis records and ticks.
    ///
    /// # Errors
    /// As [`Codec::read_message`].
    pub fn read_delivery(&self, headers: &[Header], payload: &[u8]) -> Result<Option<Delivery>, DecodeError> {
        Ok(self.read_delivery_ref(headers, payload)?.map(DeliveryRef::into_owned))
    }

    /// As [`Self::read_delivery`], without a copy of the frame.
    ///
    /// # Errors
    /// As [`Codec::read_message`].
    pub fn read_delivery_ref<'p>(
        &self,
        headers: &[Header],
        payload: &'p [u8],
    ) -> Result<Option<DeliveryRef<'p>>, DecodeError> {
        let (kind, datum) = self.open(headers, payload)?;
        match kind {
            SchemaKind::GenesisV1 | SchemaKind::TickV1 => Ok(None),
            SchemaKind::DeliveryV1 => {
                let mut datum = Datum(datum);
                let recipients = datum.ids().ok_or_else(corrupt)??;
                let conversation = datum.option(Datum::uuid).ok_or_else(corrupt)?;
                let number = datum.option(Datum::number).ok_or_else(corrupt)?;
                let frame = datum.text().filter(|_| datum.0.is_empty()).ok_or_else(corrupt)?;
                let event_key = match (conversation, number) {
                    (Some(conversation), Some(number)) => Some((id(conversation)?, seq(number)?)),
                    _ => None,
                };
                Ok(Some(DeliveryRef { recipients, event_key, frame }))
            }
            other => Err(misplaced(other)),
        }
    }
}

fn corrupt() -> DecodeError {
    DecodeError::Corrupt(format!("{}: its bytes are not those of its schema", SchemaKind::DeliveryV1.record_name()))
}

/// The bytes of a datum in Avro's binary encoding (specification 1.12, "Binary encoding"), from the front. `None`
/// where they are not what they should be.
struct Datum<'p>(&'p [u8]);

impl<'p> Datum<'p> {
    /// A `long`: a variable-length zig-zag number.
    fn number(&mut self) -> Option<i64> {
        let mut number = 0_u64;
        for at in 0..NUMBER_BYTES_MAX {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            number |= bits.checked_shl(7 * at).filter(|shifted| shifted >> (7 * at) == bits)?;
            if byte & 0x80 == 0 {
                return Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
            }
        }
        None
    }

    fn bytes(&mut self, count: usize) -> Option<&'p [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    fn uuid(&mut self) -> Option<Uuid> {
        Uuid::from_slice(self.bytes(ID_BYTES)?).ok()
    }

    fn text(&mut self) -> Option<&'p str> {
        let count = usize::try_from(self.number()?).ok()?;
        std::str::from_utf8(self.bytes(count)?).ok()
    }

    /// A union of `null` and another type.
    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.number()? {
            0 => Some(None),
            1 => read(self).map(Some),
            _ => None,
        }
    }

    /// An array of ids: blocks with their counts, until one of none. A negative count is followed by the bytes of the
    /// block.
    fn ids(&mut self) -> Option<Result<Vec<UserId>, DecodeError>> {
        let mut ids = Vec::new();
        loop {
            let count = self.number()?;
            if count < 0 {
                self.number()?;
            }
            let count = usize::try_from(count.unsigned_abs()).ok()?;
            if count == 0 {
                return Some(Ok(ids));
            }
            let (block, _) = self.bytes(count.checked_mul(ID_BYTES)?)?.as_chunks::<ID_BYTES>();
            ids.reserve(count);
            for one in block {
                match id(Uuid::from_bytes(*one)) {
                    Ok(id) => ids.push(id),
                    Err(error) => return Some(Err(error)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_the_library(payload: &[u8]) -> Result<Delivery, DecodeError> {
        let record: DeliveryV1 = Codec::read(SchemaKind::DeliveryV1, payload)?;
        let recipients = record.recipients.into_iter().map(id).collect::<Result<_, _>>()?;
        let event_key = match (record.conversation, record.seq) {
            (Some(conversation), Some(place)) => Some((id(conversation)?, seq(place)?)),
            _ => None,
        };
        Ok(Delivery { recipients, event_key, frame: record.frame })
    }

    fn samples() -> Vec<Vec<u8>> {
        let user = |number: u128| UserId::try_from(Uuid::from_u128(number)).unwrap();
        let key = |seq| (ConversationId::direct(user(1), user(2)), Seq::new(3, seq).unwrap());
        let (none, long) = (String::new(), "\u{1F600}".repeat(5000));
        let deliveries = [
            Delivery { recipients: vec![], event_key: None, frame: none },
            Delivery { recipients: (0..200).map(user).collect(), event_key: Some(key(7)), frame: long },
            Delivery { recipients: vec![user(9)], event_key: Some(key(1 << 40)), frame: "{}".into() },
        ];
        let codec = Codec::compiled_in();
        deliveries.iter().map(|delivery| codec.delivery(delivery).payload[5..].to_vec()).collect()
    }

    fn read(datum: &[u8]) -> Result<Option<Delivery>, DecodeError> {
        let codec = Codec::compiled_in();
        let Encoded { headers, payload } =
            codec.delivery(&Delivery { recipients: vec![], event_key: None, frame: String::new() });
        let payload = [&payload[..5], datum].concat();
        codec.read_delivery(&headers, &payload)
    }

    /// Whole records, each cut everywhere, with each byte changed, and with bytes appended.
    #[test]
    fn it_reads_and_refuses_what_the_library_does() {
        let mut seen = (0, 0);
        for sample in samples() {
            let mut tried = vec![sample.clone(), [&sample[..], &[0]].concat()];
            for at in 0..sample.len().min(400) {
                tried.push(sample[..at].to_vec());
                for change in [1, 2, 0x7f, 0x80, 0xff] {
                    let mut changed = sample.clone();
                    changed[at] ^= change;
                    tried.push(changed);
                }
            }
            for datum in tried {
                let (here, there) = (read(&datum), by_the_library(&datum));
                assert_eq!(here.clone().ok().flatten(), there.clone().ok(), "{datum:02x?}: {here:?}, {there:?}");
                assert!(here.is_ok() || matches!(here, Err(DecodeError::Corrupt(_))));
                if here.is_ok() { seen.0 += 1 } else { seen.1 += 1 }
            }
        }
        assert!(seen.0 > 100 && seen.1 > 100, "{seen:?}");
    }

    /// As another producer may write them.
    #[test]
    fn recipients_may_come_in_blocks() {
        let id = |number: u128| Uuid::from_u128(number).into_bytes();
        let one_by_one = [&[2][..], &id(1), &[1, 32], &id(2), &[0, 0, 0, 4], b"{}"].concat();
        let delivery = read(&one_by_one).unwrap().unwrap();
        assert_eq!(delivery, by_the_library(&one_by_one).unwrap());
        assert_eq!((delivery.recipients.len(), delivery.frame.as_str()), (2, "{}"));
    }
}
