//! Bytes as people write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::codec::DecodeError;

/// What marks bytes that are written in hexadecimal.
pub const HEX_MARK: &str = "hex:";

/// Bytes as people write them: text where they are text, else `hex:` and hexadecimal digits.
///
/// ```text
///   readable = text      any UTF-8 without control characters that doesn't begin with "hex:"
///            | "hex:" digits
/// ```
///
/// Every string of bytes can be written, and reading gives back the same bytes: those that would be mistaken (control
/// characters, no UTF-8, a beginning of `hex:`) are written in hexadecimal. Used for keys in paths and for names, keys
/// and values in JSON: one notation everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Readable(pub Vec<u8>);

impl Readable {
    /// The text, if the bytes are written as such.
    pub fn as_text(&self) -> Option<&str> {
        let text = std::str::from_utf8(&self.0).ok()?;
        let plain = !text.starts_with(HEX_MARK) && !text.chars().any(char::is_control);
        plain.then_some(text)
    }
}

impl fmt::Display for Readable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_text() {
            Some(text) => f.write_str(text),
            None => write!(f, "{HEX_MARK}{}", hex::encode(&self.0)),
        }
    }
}

impl FromStr for Readable {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        match text.strip_prefix(HEX_MARK) {
            Some(digits) => hex::decode(digits)
                .map(Readable)
                .map_err(|_| DecodeError::new("hex: text", undecodable(digits))),
            None => Ok(Readable(text.as_bytes().to_vec())),
        }
    }
}

/// Why digits aren't bytes.
fn undecodable(digits: &str) -> String {
    // Whole characters: the library names the first byte of one.
    match digits.chars().find(|c| !c.is_ascii_hexdigit()) {
        Some(wrong) => format!("hexadecimal digits follow hex:, and {wrong:?} is none"),
        None => "two digits make a byte, and there is an odd number of them".into(),
    }
}

impl From<&[u8]> for Readable {
    fn from(bytes: &[u8]) -> Self {
        Readable(bytes.to_vec())
    }
}

impl Serialize for Readable {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_text_and_all_else_hexadecimal() {
        for (bytes, written) in [
            (&b"alice"[..], "alice"),
            ("größe/1 %".as_bytes(), "größe/1 %"),
            (b"", ""),
            (b"a\nb", "hex:610a62"),
            (b"\xff", "hex:ff"),
            (b"hex:00", "hex:6865783a3030"),
        ] {
            let readable = Readable(bytes.to_vec());
            assert_eq!(readable.to_string(), written);
            assert_eq!(written.parse::<Readable>().unwrap(), readable);
        }
        assert_eq!("hex:".parse::<Readable>().unwrap(), Readable(Vec::new()));
    }

    #[test]
    fn what_isnt_hexadecimal_is_named() {
        for (text, reason) in [
            (
                "hex:0",
                "two digits make a byte, and there is an odd number of them",
            ),
            ("hex:zz", "hexadecimal digits follow hex:, and 'z' is none"),
            ("hex:0ß", "hexadecimal digits follow hex:, and 'ß' is none"),
            ("hex:00ß", "hexadecimal digits follow hex:, and 'ß' is none"),
        ] {
            let error = text.parse::<Readable>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("not a valid hex: text: {reason}")
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let readable = Readable(bytes);
            let json = serde_json::to_string(&readable).unwrap();
            prop_assert_eq!(serde_json::from_str::<Readable>(&json).unwrap(), readable);
        }
    }
}
