//! Frames: how messages lie in a stream of bytes.
//!
//! ```text
//!  frame = length: u32 little-endian ‖ message          length ≤ MESSAGE_BYTES_MAX
//! ```
//!
//! A length is only a claim until its bytes have come. What is set aside for a frame is never more than twice what has
//! come of it, and a chunk; a frame that has begun must move on within [`PROGRESS_TIMEOUT`] and end within
//! [`FRAME_TIMEOUT`], so that nobody can hold memory by sending slowly.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};
use violeta_types::limits::MESSAGE_BYTES_MAX;

/// Bytes of the length before each message.
pub const HEADER_BYTES: usize = 4;
/// Bytes read from a connection at once.
pub const CHUNK_BYTES: usize = 64 << 10;
/// A message below this is copied out of the chunk it came in, so that keeping it doesn't keep the chunk.
pub const COPY_BYTES_MAX: usize = 16 << 10;
/// How long a frame that has begun may stand still.
pub const PROGRESS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a frame may take in all.
pub const FRAME_TIMEOUT: Duration = Duration::from_secs(60);

const _: () = assert!(COPY_BYTES_MAX < CHUNK_BYTES);
const _: () = assert!(MESSAGE_BYTES_MAX <= u32::MAX as usize);

/// Why no further frame can be read from a connection.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length is over the bound: not a peer of ours.
    #[error("a message of {0} bytes, at most {max} are allowed", max = MESSAGE_BYTES_MAX)]
    TooLong(usize),
    /// The connection ended inside a frame.
    #[error("the connection ended inside a message")]
    CutShort,
    /// A frame stood still, or took too long.
    #[error("a message stood still for too long")]
    TooSlow,
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// The bytes before a message of this length.
pub fn header(length: usize) -> [u8; HEADER_BYTES] {
    assert!(
        length <= MESSAGE_BYTES_MAX,
        "messages are bounded where they are made"
    );
    (length as u32).to_le_bytes()
}

/// Reads frames from a stream.
pub struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
    length_max: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader of frames of up to `length_max` bytes.
    pub fn new(stream: R, length_max: usize) -> Self {
        assert!(length_max <= MESSAGE_BYTES_MAX, "no message is longer");
        FrameReader {
            stream,
            buffer: BytesMut::new(),
            length_max,
        }
    }

    /// From now on, frames may be of up to `length_max` bytes.
    pub fn set_length_max(&mut self, length_max: usize) {
        assert!(length_max <= MESSAGE_BYTES_MAX, "no message is longer");
        self.length_max = length_max;
    }

    /// The stream, to write to it.
    pub fn stream_mut(&mut self) -> &mut R {
        &mut self.stream
    }

    /// The stream. What has been read of it beyond the last frame is lost.
    pub fn into_stream(self) -> R {
        self.stream
    }

    /// The next message; none if the connection ended between two.
    ///
    /// # Errors
    /// If no further message can be read.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(length) = self.length().await? else {
            return Ok(None);
        };
        let end = Instant::now() + FRAME_TIMEOUT;
        if length <= CHUNK_BYTES {
            self.small(length, end).await.map(Some)
        } else {
            self.large(length, end).await.map(Some)
        }
    }

    async fn length(&mut self) -> Result<Option<usize>, FrameError> {
        if self.buffer.is_empty() {
            // Between frames a peer may be silent for as long as it likes; the socket's keep-alive finds the dead.
            self.buffer.reserve(CHUNK_BYTES);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
        let end = Instant::now() + FRAME_TIMEOUT;
        while self.buffer.len() < HEADER_BYTES {
            self.more(end).await?;
        }
        let length = self.buffer.get_u32_le() as usize;
        if length > self.length_max {
            return Err(FrameError::TooLong(length));
        }
        Ok(Some(length))
    }

    async fn small(&mut self, length: usize, end: Instant) -> Result<Bytes, FrameError> {
        while self.buffer.len() < length {
            self.more(end).await?;
        }
        let message = self.buffer.split_to(length);
        if length <= COPY_BYTES_MAX {
            return Ok(Bytes::copy_from_slice(&message));
        }
        Ok(message.freeze())
    }

    async fn large(&mut self, length: usize, end: Instant) -> Result<Bytes, FrameError> {
        let have = self.buffer.len().min(length);
        let mut message = Vec::with_capacity(set_aside(have, length));
        message.extend_from_slice(&self.buffer.split_to(have));
        while message.len() < length {
            // Only once it is full: to grow with each read would copy all that has come each time.
            if message.len() == message.capacity() {
                message.reserve_exact(set_aside(message.len(), length) - message.len());
            }
            let room = message.capacity().min(length) - message.len();
            let by = end.min(Instant::now() + PROGRESS_TIMEOUT);
            let mut limited = (&mut self.stream).take(room as u64);
            let read = timeout_at(by, limited.read_buf(&mut message))
                .await
                .map_err(|_| FrameError::TooSlow)??;
            if read == 0 {
                return Err(FrameError::CutShort);
            }
        }
        Ok(message.into())
    }

    async fn more(&mut self, end: Instant) -> Result<(), FrameError> {
        self.buffer.reserve(CHUNK_BYTES);
        let by = end.min(Instant::now() + PROGRESS_TIMEOUT);
        let read = timeout_at(by, self.stream.read_buf(&mut self.buffer))
            .await
            .map_err(|_| FrameError::TooSlow)??;
        match read {
            0 => Err(FrameError::CutShort),
            _ => Ok(()),
        }
    }
}

/// How much to set aside for a message of `length` bytes of which `have` have come.
fn set_aside(have: usize, length: usize) -> usize {
    length.min(2 * have + CHUNK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use tokio::io::{AsyncWriteExt, ReadBuf};

    fn frame(message: &[u8]) -> Vec<u8> {
        [&header(message.len())[..], message].concat()
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
    }

    /// Reads all that a stream of `bytes`, cut into pieces of `piece`, holds.
    async fn read_all(bytes: &[u8], piece: usize) -> (Vec<Bytes>, Option<FrameError>) {
        let (mut writer, reader) = tokio::io::duplex(piece);
        let mut reader = FrameReader::new(reader, MESSAGE_BYTES_MAX);
        let write = async {
            let _ = writer.write_all(bytes).await;
            drop(writer);
        };
        let read = async {
            let mut messages = Vec::new();
            loop {
                match reader.next().await {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => return (messages, None),
                    Err(error) => {
                        drop(reader);
                        return (messages, Some(error));
                    }
                }
            }
        };
        tokio::join!(write, read).1
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn frames_survive_any_cutting(
            sizes in proptest::collection::vec(prop_oneof![0usize..20, 0usize..200_000], 0..6),
            piece in prop_oneof![1usize..5, 1usize..100_000],
        ) {
            let piece = if sizes.iter().sum::<usize>() > 50_000 { piece.max(500) } else { piece };
            let messages: Vec<Vec<u8>> = sizes
                .iter()
                .enumerate()
                .map(|(i, &n)| vec![i as u8; n])
                .collect();
            let stream: Vec<u8> = messages.iter().flat_map(|m| frame(m)).collect();
            let (read, error) = runtime().block_on(read_all(&stream, piece));
            prop_assert!(error.is_none());
            prop_assert_eq!(read, messages);
        }
    }

    /// Gives 16 KiB at a time, as TLS does, and takes note of how much more would have had room.
    struct Records {
        offered: Vec<usize>,
    }

    impl AsyncRead for Records {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            self.offered.push(buffer.remaining());
            let record = [7; 16 << 10];
            buffer.put_slice(&record[..buffer.remaining().min(record.len())]);
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_message_is_moved_few_times_as_it_comes_and_little_is_set_aside_for_it() {
        let mut reader = FrameReader::new(Records { offered: vec![] }, MESSAGE_BYTES_MAX);
        reader.buffer.extend_from_slice(&[7; 100]);
        runtime().block_on(async {
            let end = Instant::now() + FRAME_TIMEOUT;
            let message = reader.large(MESSAGE_BYTES_MAX, end).await.unwrap();
            assert_eq!(message.len(), MESSAGE_BYTES_MAX);
        });
        let offered = &reader.stream.offered;
        let mut come = 100;
        for offer in offered {
            assert!(*offer <= come + CHUNK_BYTES, "{offer} for {come}");
            come += offer.min(&(16 << 10));
        }
        // Where there is more room than before, the message was moved to get it.
        let moved = offered.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!(moved <= 10, "moved {moved} times");
    }

    #[test]
    fn the_longest_message_passes_and_one_byte_more_does_not() {
        runtime().block_on(async {
            let longest = vec![7; MESSAGE_BYTES_MAX];
            let (read, error) = read_all(&frame(&longest), 1 << 20).await;
            assert!(error.is_none());
            assert_eq!(read[0].len(), MESSAGE_BYTES_MAX);
            let claim = (MESSAGE_BYTES_MAX as u32 + 1).to_le_bytes();
            let (read, error) = read_all(&claim, 100).await;
            assert!(read.is_empty());
            assert!(matches!(error, Some(FrameError::TooLong(_))));
        });
    }

    #[test]
    fn a_half_frame_is_an_error_an_end_between_frames_is_not() {
        runtime().block_on(async {
            let whole = frame(b"hello");
            for cut in 1..whole.len() {
                let (read, error) = read_all(&whole[..cut], 100).await;
                assert!(read.is_empty());
                assert!(matches!(error, Some(FrameError::CutShort)), "cut at {cut}");
            }
            assert!(read_all(&whole, 100).await.1.is_none());
        });
    }

    #[test]
    fn one_who_sends_half_a_frame_and_waits_is_dropped() {
        runtime().block_on(async {
            for sent in [&header(10)[..2], &frame(&[1; 10])[..9], &header(1 << 20)] {
                let (mut writer, reader) = tokio::io::duplex(100);
                let mut reader = FrameReader::new(reader, MESSAGE_BYTES_MAX);
                writer.write_all(sent).await.unwrap();
                let before = Instant::now();
                let error = reader.next().await.unwrap_err();
                assert!(matches!(error, FrameError::TooSlow));
                assert!(before.elapsed() <= PROGRESS_TIMEOUT + Duration::from_secs(1));
            }
        });
    }

    #[test]
    fn one_who_sends_a_byte_now_and_then_is_dropped_in_the_end() {
        runtime().block_on(async {
            let (mut writer, reader) = tokio::io::duplex(100);
            let mut reader = FrameReader::new(reader, MESSAGE_BYTES_MAX);
            let drip = async {
                let _ = writer.write_all(&header(1 << 20)).await;
                while writer.write_all(&[0]).await.is_ok() {
                    tokio::time::sleep(PROGRESS_TIMEOUT / 2).await;
                }
            };
            let read = async {
                let error = reader.next().await.unwrap_err();
                drop(reader);
                error
            };
            let (_, error) = tokio::join!(drip, read);
            assert!(matches!(error, FrameError::TooSlow));
        });
    }

    #[test]
    fn a_claimed_length_sets_aside_a_chunk_only() {
        runtime().block_on(async {
            let (mut writer, reader) = tokio::io::duplex(100);
            let mut reader = FrameReader::new(reader, MESSAGE_BYTES_MAX);
            writer.write_all(&header(MESSAGE_BYTES_MAX)).await.unwrap();
            let length = reader.length().await.unwrap().unwrap();
            assert_eq!(length, MESSAGE_BYTES_MAX);
            assert!(reader.buffer.capacity() <= CHUNK_BYTES);
        });
    }
}
