//! The JSON forms of proofs and trust: for people and files. Bytes are hexadecimal. Never signed or hashed.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::ProofError;

/// Reads a value of at most `bytes_max` bytes of JSON.
pub(crate) fn read<T: DeserializeOwned>(text: &str, bytes_max: usize) -> Result<T, ProofError> {
    if text.len() > bytes_max {
        let reason = format!("{} bytes, at most {bytes_max}", text.len());
        return Err(ProofError::Json(reason));
    }
    serde_json::from_str(text).map_err(|e| ProofError::Json(e.to_string()))
}

/// The JSON form of a value of this crate, indented.
pub(crate) fn write<T: Serialize>(value: &T) -> String {
    #[expect(
        clippy::expect_used,
        reason = "writing structs, numbers and strings to memory can't fail"
    )]
    serde_json::to_string_pretty(value).expect("JSON of a proof")
}
