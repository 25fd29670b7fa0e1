//! Kafka's default partitioner: every producer in any language assigns a key to the same partition as we do.

use uuid::Uuid;

/// The partition of `key` among `partitions`: `toPositive(murmur2(key)) % partitions`.
///
/// Source: Apache Kafka, `org.apache.kafka.clients.producer.internals.BuiltInPartitioner.partitionForKey`.
///
/// # Panics
/// When `partitions` is 0.
#[must_use]
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions
}

/// The partition of the records whose key is that id, as text.
///
/// # Panics
/// As [`partition_of`].
#[must_use]
pub fn partition_of_id(id: Uuid, partitions: u32) -> u32 {
    let mut text = Uuid::encode_buffer();
    partition_of(id.hyphenated().encode_lower(&mut text).as_bytes(), partitions)
}

/// MurmurHash2, 32 bit, with Kafka's seed. Source: `org.apache.kafka.common.utils.Utils.murmur2`.
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX); // keys are ids: 36 bytes
    let mut hash = SEED ^ length;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (i, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_in_the_partition_of_its_text() {
        let id = Uuid::from_u128(0x0123_4567_89ab_4def_8123_4567_89ab_cdef);
        assert_eq!(partition_of_id(id, 1_000_003), partition_of(id.to_string().as_bytes(), 1_000_003));
    }

    /// The test values of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    #[allow(clippy::cast_sign_loss)]
    fn hashes_as_kafka_does() {
        let cases: [(&[u8], i32); 7] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
            (&[], 275_646_681),
        ];
        for (key, hash) in cases {
            assert_eq!(murmur2(key), hash as u32, "{key:?}");
        }
    }
}
