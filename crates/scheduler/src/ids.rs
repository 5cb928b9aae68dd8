//! Ids without a source of randomness: the seed comes from outside, once.

use jiff::Timestamp;
use model::{AttemptId, CallbackId, DeadlineId, TaskInstanceId, VersionId};
use uuid::Uuid;

/// Makes UUIDs of version 7 from the time it is given and a sequence that its seed determines.
///
/// Ids grow in the order in which they are made, within a millisecond too: lists that are equal in everything they are
/// ordered by come in this order, as on Airflow. The counter is RFC 9562's, method 1, in the 12 bits of `rand_a`.
#[derive(Clone, Debug)]
pub struct IdSource {
    state: u64,
    /// The last id's milliseconds, and 12 bits that count those of the same one.
    last: u64,
}

const COUNTER_BITS: u32 = 12;

impl IdSource {
    /// Two sources with different seeds give different ids, with the certainty of 62 random bits.
    pub fn new(seed: u64) -> Self {
        Self { state: seed, last: 0 }
    }

    pub fn task_instance(&mut self, now: Timestamp) -> TaskInstanceId {
        TaskInstanceId(self.uuid(now))
    }

    pub fn attempt(&mut self, now: Timestamp) -> AttemptId {
        AttemptId(self.uuid(now))
    }

    pub fn callback(&mut self, now: Timestamp) -> CallbackId {
        CallbackId(self.uuid(now))
    }

    pub fn deadline(&mut self, now: Timestamp) -> DeadlineId {
        DeadlineId(self.uuid(now))
    }

    pub fn version(&mut self, now: Timestamp) -> VersionId {
        VersionId(self.uuid(now))
    }

    /// Letters and digits in any order.
    pub fn letters(&mut self, count: usize) -> String {
        const LETTERS: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
        (0..count).map(|_| char::from(LETTERS[(self.next() % 62) as usize])).collect()
    }

    fn uuid(&mut self, now: Timestamp) -> Uuid {
        let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
        // A counter that overflows borrows from the next millisecond; a clock that goes back waits for itself.
        self.last = (millis << COUNTER_BITS).max(self.last + 1);
        let [.., high, low] = (self.last & ((1 << COUNTER_BITS) - 1)).to_be_bytes();
        let mut random = [high, low, 0, 0, 0, 0, 0, 0, 0, 0];
        random[2..].copy_from_slice(&self.next().to_be_bytes());
        uuid::Builder::from_unix_timestamp_millis(self.last >> COUNTER_BITS, &random).into_uuid()
    }

    /// SplitMix64: every seed gives a sequence of full period, and two lines are all it takes.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_of_version_7_in_order_of_time_and_never_the_same() {
        let mut ids = IdSource::new(7);
        let early = ids.task_instance(Timestamp::from_second(1_000).unwrap());
        let late = ids.task_instance(Timestamp::from_second(2_000).unwrap());
        let twin = ids.task_instance(Timestamp::from_second(2_000).unwrap());
        assert_eq!(early.0.get_version_num(), 7);
        assert!(early < late && late < twin);
    }

    #[test]
    fn ids_grow_in_the_order_in_which_they_are_made() {
        let mut ids = IdSource::new(7);
        let times =
            [2_000_000, 2_000_000, 1_999_999, 2_000_001].map(|millis| Timestamp::from_millisecond(millis).unwrap());
        let made: Vec<_> =
            times.iter().flat_map(|now| (0..5_000).map(|_| *now)).map(|now| ids.task_instance(now)).collect();
        assert!(made.is_sorted_by(|one, next| one < next));
    }
}
