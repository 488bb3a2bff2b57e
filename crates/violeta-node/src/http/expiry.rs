//! Transactions whose expiry is too far ahead are refused at the door (replica.md §1: at most ten minutes ahead is
//! admitted).
//!
//! ```text
//!   now ────────────── + EXPIRY_AHEAD_MS_MAX ─── + EXPIRY_SLACK_MS ──────────▶ expires
//!        goes to the replica                                      refused here
//! ```
//!
//! Such a transaction would be ordered, do nothing, and spend its nonce: a client with a wrong clock would lose one
//! with each. The time of the commit decides, in the machine, the same everywhere. It is still to come, so that this clock
//! tells what it will be about; what it leaves open, the machine judges. One that has expired isn't admitted by the
//! machine.

use std::time::{SystemTime, UNIX_EPOCH};

use violeta_types::api::{ErrorCode, ErrorDetail};
use violeta_types::codec::decode_prefix;
use violeta_types::limits::EXPIRY_AHEAD_MS_MAX;
use violeta_types::{ChainId, ClientPublicKey, Nonce, TimeMs};

use super::limits::EXPIRY_SLACK_MS;

/// The wall clock.
pub(crate) fn now() -> TimeMs {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    TimeMs(elapsed.map_or(0, |elapsed| elapsed.as_millis() as u64))
}

/// Why an item isn't to be taken at this time: if it is a transaction of this chain that expires too late.
pub(crate) fn refusal(chain: &ChainId, now: TimeMs, item: &[u8]) -> Option<ErrorDetail> {
    let expires = expires_of_encoded(chain, item)?;
    let ahead_ms = expires.0.saturating_sub(now.0);
    if ahead_ms <= EXPIRY_AHEAD_MS_MAX + EXPIRY_SLACK_MS {
        return None;
    }
    Some(ErrorDetail {
        code: ErrorCode::NotAdmitted,
        message: format!(
            "it expires {ahead_ms} ms after this validator's time, at most {EXPIRY_AHEAD_MS_MAX} are admitted; its \
             nonce wasn't spent"
        ),
        help: "set this machine's clock and sign anew with an earlier expiry; if the clock is right, ask another validator"
            .into(),
        retry_ms: None,
    })
}

/// When an encoded transaction of this chain expires. What comes before the operations is enough; whether the rest is a
/// transaction is judged in batches, elsewhere.
fn expires_of_encoded(chain: &ChainId, mut item: &[u8]) -> Option<TimeMs> {
    let found: ChainId = decode_prefix(&mut item).ok()?;
    let (_, _, expires): (ClientPublicKey, Nonce, TimeMs) = decode_prefix(&mut item).ok()?;
    (found == *chain).then_some(expires)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::chain;
    use violeta_crypto::signing::ClientSecretKey;
    use violeta_types::{Bounded, Digest, Transaction, TransactionBody};

    const NOW: TimeMs = TimeMs(1_700_000_000_000);

    fn expiring(expires: u64) -> Vec<u8> {
        let key = ClientSecretKey::from_seed([3; 32]);
        let body = TransactionBody {
            chain: chain(),
            key: key.public_key(),
            nonce: Nonce(1),
            expires: TimeMs(expires),
            operations: Bounded::default(),
        };
        let signature = key.sign_transaction(&body.id());
        Transaction { body, signature }.to_bytes().to_vec()
    }

    #[test]
    fn ten_minutes_ahead_and_a_little_is_left_to_the_machine_and_more_is_refused() {
        let limit = NOW.0 + 600_000 + EXPIRY_SLACK_MS;
        for expires in [0, NOW.0, NOW.0 + 600_000, limit] {
            let refused = refusal(&chain(), NOW, &expiring(expires));
            assert_eq!(refused, None, "{expires}");
        }
        for expires in [limit + 1, NOW.0 + 3_600_000, u64::MAX] {
            let refused = refusal(&chain(), NOW, &expiring(expires)).unwrap();
            assert_eq!(refused.code, ErrorCode::NotAdmitted, "{expires}");
        }
        let hour = refusal(&chain(), NOW, &expiring(NOW.0 + 3_600_000)).unwrap();
        assert!(hour.message.contains("expires 3600000 ms"), "{hour:?}");
    }

    #[test]
    fn what_is_no_transaction_of_this_chain_is_left_to_others() {
        let late = expiring(u64::MAX);
        let other = ChainId(Digest([9; 32]));
        assert_eq!(refusal(&other, NOW, &late), None);
        for len in 0..32 + 32 + 8 + 8 {
            assert_eq!(refusal(&chain(), NOW, &late[..len]), None, "{len} bytes");
        }
    }
}
