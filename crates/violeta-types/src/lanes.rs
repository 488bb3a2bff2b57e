//! Many short inputs hashed at once.
//!
//! ```text
//!  block 0 ─┐
//!  block 1 ─┤  one instruction works on a word of each       4, 8 or 16 lanes, as the processor has them
//!     …     ├─────────────────────────────────────────▶ 16 digests in the time of two or three
//!  block 15─┘
//! ```
//!
//! BLAKE3 hashes the chunks of a long input in the lanes of the processor's vectors. A single block of 64 bytes is a
//! chunk, too, and one that is also the root if its flags say so (BLAKE3 paper, §2.2 to §2.4): so blocks of different
//! inputs can go side by side. Blake3's crate does that work and chooses the instructions at run time, with portable
//! code where there are none; the functions for it are public, but not promised to stay as they are. The tests compare
//! them with the plain way.

use std::sync::LazyLock;

use blake3::IncrementCounter;
use blake3::platform::{MAX_SIMD_DEGREE, Platform, words_from_le_bytes_32};

use crate::digest::{Digest, Domain};

/// Bytes of a block of BLAKE3.
const BLOCK_BYTES: usize = 64;

// Flags of the compression function (BLAKE3 paper, table 3).
const CHUNK_START: u8 = 1 << 0;
const CHUNK_END: u8 = 1 << 1;
const ROOT: u8 = 1 << 3;
const KEYED_HASH: u8 = 1 << 4;

static PLATFORM: LazyLock<Platform> = LazyLock::new(Platform::detect);

impl Domain {
    /// Appends the digests of inputs of 64 bytes: each is what [`Domain::hash`] makes of it.
    pub fn hash_blocks<'a>(
        self,
        blocks: impl IntoIterator<Item = &'a [u8; BLOCK_BYTES]>,
        digests: &mut Vec<Digest>,
    ) {
        hash_on(*PLATFORM, self, blocks, digests);
    }
}

fn hash_on<'a>(
    platform: Platform,
    domain: Domain,
    blocks: impl IntoIterator<Item = &'a [u8; BLOCK_BYTES]>,
    digests: &mut Vec<Digest>,
) {
    let key = words_from_le_bytes_32(domain.key());
    let mut blocks = blocks.into_iter();
    let mut lanes = [&[0; BLOCK_BYTES]; MAX_SIMD_DEGREE];
    let mut out = [0; 32 * MAX_SIMD_DEGREE];
    loop {
        let mut used = 0usize;
        for (lane, block) in lanes.iter_mut().zip(&mut blocks) {
            *lane = block;
            used += 1;
        }
        if used == 0 {
            return;
        }
        // Odd ones out would be hashed one by one: it's quicker to fill up with what nobody looks at.
        platform.hash_many(
            &lanes[..used.next_power_of_two()],
            &key,
            0,
            IncrementCounter::No,
            KEYED_HASH,
            CHUNK_START,
            CHUNK_END | ROOT,
            &mut out,
        );
        let (made, _) = out.as_chunks::<32>();
        digests.extend(made[..used].iter().map(|digest| Digest(*digest)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many blocks, no two alike.
    fn blocks(count: usize) -> Vec<[u8; BLOCK_BYTES]> {
        (0..count)
            .map(|i| std::array::from_fn(|byte| (i * 67 + byte * 3) as u8))
            .collect()
    }

    fn same_as_one_by_one(platform: Platform) {
        for domain in [Domain::TreeInner, Domain::TreeLeaf] {
            // Around every number of lanes, and more than once round.
            for count in 0..=3 * MAX_SIMD_DEGREE + 1 {
                let blocks = blocks(count);
                let mut digests = vec![Digest([7; 32])];
                hash_on(platform, domain, &blocks, &mut digests);
                let plain = blocks
                    .iter()
                    .map(|block| Digest(*blake3::keyed_hash(domain.key(), block).as_bytes()));
                assert_eq!(digests[0], Digest([7; 32]), "appended");
                assert!(
                    digests[1..].iter().copied().eq(plain),
                    "{platform:?}: {count}"
                );
            }
        }
    }

    #[test]
    fn blocks_side_by_side_hash_like_blocks_one_by_one() {
        same_as_one_by_one(Platform::detect());
    }

    #[test]
    fn a_processor_without_lanes_gets_the_same_digests() {
        same_as_one_by_one(Platform::portable());
    }

    #[test]
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    fn all_widths_that_this_processor_has_give_the_same_digests() {
        let narrower = [Platform::sse2(), Platform::sse41(), Platform::avx2()];
        narrower.into_iter().flatten().for_each(same_as_one_by_one);
    }
}
