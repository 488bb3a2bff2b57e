//! Many transactions in one request.
//!
//! ```text
//!   batch    = count: u32 LE ‖ (length: u32 LE ‖ transaction) …         request
//!   verdicts = count: u32 LE ‖ verdict …                                answer, in the request's order
//! ```
//!
//! Both are borsh sequences. Decoding a batch shares the buffer: no transaction is copied.

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::{Buf, BufMut, Bytes};
use serde::{Deserialize, Serialize};

use super::ErrorDetail;
use crate::codec::DecodeError;
use crate::ids::TxId;
use crate::limits::TRANSACTION_BYTES_MAX;

/// Transactions of a batch.
pub const BATCH_COUNT_MAX: usize = 16 << 10;
/// Bytes of an encoded batch.
pub const BATCH_BYTES_MAX: usize = 8 << 20;

const _: () = assert!(TRANSACTION_BYTES_MAX + 8 <= BATCH_BYTES_MAX);

/// What was said of one transaction of a batch.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum BatchVerdict {
    /// The mempool has it.
    Taken(TxId),
    /// It wasn't taken.
    Refused(ErrorDetail),
}

/// The encoding of a batch.
///
/// # Errors
/// If there are too many transactions, or too many bytes of them: split it.
pub fn encode_batch(transactions: &[Bytes]) -> Result<Bytes, DecodeError> {
    let len = 4 + transactions.iter().map(|t| 4 + t.len()).sum::<usize>();
    if transactions.len() > BATCH_COUNT_MAX || len > BATCH_BYTES_MAX {
        let reason = format!(
            "{} transactions in {len} bytes, at most {BATCH_COUNT_MAX} in {BATCH_BYTES_MAX}",
            transactions.len()
        );
        return Err(DecodeError::new("batch", reason));
    }
    let mut out = Vec::with_capacity(len);
    out.put_u32_le(transactions.len() as u32);
    for transaction in transactions {
        out.put_u32_le(transaction.len() as u32);
        out.put_slice(transaction);
    }
    Ok(out.into())
}

/// Takes a batch apart, sharing its bytes. What the transactions say isn't looked at.
///
/// # Errors
/// If the bytes aren't a batch within the limits.
pub fn decode_batch(mut bytes: Bytes) -> Result<Vec<Bytes>, DecodeError> {
    let fail = |reason: String| Err(DecodeError::new("batch", reason));
    if bytes.len() > BATCH_BYTES_MAX {
        return fail(format!("{} bytes, at most {BATCH_BYTES_MAX}", bytes.len()));
    }
    if bytes.len() < 4 {
        return fail("cut short before its count".into());
    }
    let count = bytes.get_u32_le() as usize;
    // Each takes four bytes at least, so a count beyond that is a lie: nothing is allocated for it.
    if count > BATCH_COUNT_MAX || count > bytes.len() / 4 {
        return fail(format!(
            "{count} transactions, at most {BATCH_COUNT_MAX}, in {} bytes",
            bytes.len()
        ));
    }
    let mut transactions = Vec::with_capacity(count);
    for index in 0..count {
        if bytes.len() < 4 {
            return fail(format!("cut short before transaction {index}"));
        }
        let len = bytes.get_u32_le() as usize;
        if len > TRANSACTION_BYTES_MAX || len > bytes.len() {
            let left = bytes.len();
            return fail(format!(
                "transaction {index} says {len} bytes, at most {TRANSACTION_BYTES_MAX}; {left} are left"
            ));
        }
        transactions.push(bytes.split_to(len));
    }
    if !bytes.is_empty() {
        return fail(format!("{} bytes too many", bytes.len()));
    }
    Ok(transactions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_batch_is_the_borsh_sequence_of_its_transactions() {
        let transactions = vec![vec![1u8, 2, 3], vec![], vec![9]];
        let bytes: Vec<Bytes> = transactions.iter().cloned().map(Bytes::from).collect();
        let encoded = encode_batch(&bytes).unwrap();
        assert_eq!(encoded, crate::encode(&transactions));
        assert_eq!(decode_batch(encoded).unwrap(), bytes);
    }

    #[test]
    fn limits_hold_on_both_sides() {
        let none = vec![Bytes::new(); BATCH_COUNT_MAX + 1];
        assert!(encode_batch(&none).is_err());
        assert!(encode_batch(&none[1..]).is_ok());
        let large = Bytes::from(vec![0; TRANSACTION_BYTES_MAX]);
        assert!(encode_batch(&vec![large.clone(); 8]).is_err());
        assert!(encode_batch(&vec![large; 7]).is_ok());
        let oversized = crate::encode(&vec![vec![0u8; TRANSACTION_BYTES_MAX + 1]]);
        let error = decode_batch(oversized.into()).unwrap_err();
        assert!(error.reason.contains("transaction 0"), "{error}");
        assert!(decode_batch(vec![0; BATCH_BYTES_MAX + 1].into()).is_err());
    }

    #[test]
    fn lies_about_lengths_are_refused() {
        for bytes in [
            &[][..],
            &[1, 0, 0],
            &[255, 255, 255, 255, 0, 0, 0, 0],
            &[1, 0, 0, 0, 2, 0, 0, 0, 7],
            &[2, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0],
            &[0, 0, 0, 0, 9],
        ] {
            assert!(
                decode_batch(Bytes::copy_from_slice(bytes)).is_err(),
                "{bytes:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn whatever_decodes_is_canonical(bytes in proptest::collection::vec(0u8..4, 0..40)) {
            let bytes = Bytes::from(bytes);
            if let Ok(transactions) = decode_batch(bytes.clone()) {
                prop_assert_eq!(encode_batch(&transactions).unwrap(), bytes);
            }
        }
    }
}
