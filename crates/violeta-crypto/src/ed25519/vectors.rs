//! Vectors of others: RFC 8032, Wycheproof, and the edges that ZIP-215 settles.
//!
//! **Where ZIP-215 may differ from Wycheproof**, whose verdicts are those of a strict RFC 8032 verifier: under the flag
//! `InvalidEncoding` alone. It marks keys, points R and scalars s that aren't canonical. ZIP-215 refuses such an s,
//! but decodes such points, and whether the signature is good is then a matter of the equation. All other flags
//! (`SignatureMalleability` above all: s + order) must have Wycheproof's verdict.
//!
//! Of the 151 vectors one differs: number 151, whose R is the neutral element, with the sign of an x that is 0. A
//! strict verifier can't decode it; under ZIP-215 it is a point, and the equation holds. The test names it, so that a
//! change would be seen.

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct File {
    #[serde(rename = "testGroups")]
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(rename = "publicKey")]
    key: Key,
    tests: Vec<Vector>,
}

#[derive(Deserialize)]
struct Key {
    pk: String,
}

#[derive(Deserialize)]
struct Vector {
    #[serde(rename = "tcId")]
    id: u32,
    flags: Vec<String>,
    msg: String,
    sig: String,
    result: String,
}

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    hex::decode(hex).unwrap().try_into().unwrap()
}

/// The single verdict; and that a batch, with good ones around it, has the same.
fn verdict(key: [u8; 32], message: &[u8], signature: [u8; 64]) -> bool {
    let mut checks = vec![Check {
        key,
        message: message.to_vec(),
        signature,
    }];
    let single = checks[0].is_good();
    let honest = SecretKey::from_seed([1; 32]);
    for i in 0..PIECE_MAX as u8 {
        checks.push(Check {
            key: honest.public_key(),
            message: vec![i],
            signature: honest.sign(&[i]),
        });
    }
    assert_eq!(all_good(&checks), single, "batch and single disagree");
    let mut expected = vec![true; checks.len()];
    expected[0] = single;
    assert_eq!(verify_each(&checks), expected);
    single
}

#[test]
fn wycheproof() {
    let file = include_str!("../../tests/data/wycheproof_ed25519_test.json");
    let file: File = serde_json::from_str(file).unwrap();
    let mut differ = Vec::new();
    let mut count = 0;
    for group in &file.groups {
        for vector in &group.tests {
            count += 1;
            let signature = hex::decode(&vector.sig).unwrap();
            // A signature of another length can't even be written as one.
            let good = match <[u8; 64]>::try_from(signature) {
                Ok(s) => verdict(bytes(&group.key.pk), &hex::decode(&vector.msg).unwrap(), s),
                Err(_) => false,
            };
            if good == (vector.result == "valid") {
                continue;
            }
            assert_eq!(vector.flags, ["InvalidEncoding"], "vector {}", vector.id);
            differ.push(vector.id);
        }
    }
    assert_eq!(count, 151);
    assert_eq!(differ, [151]);
}

#[test]
fn rfc_8032_section_7_1() {
    // TEST 1, TEST 2, TEST 3: seed, public key, message, signature.
    let vectors = [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b\
             d25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c\
             387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659\
             4a7c15e9716ed28dc027beceea1ec40a",
        ),
    ];
    for (seed, public, message, signature) in vectors {
        let key = SecretKey::from_seed(bytes(seed));
        let message = hex::decode(message).unwrap();
        assert_eq!(key.public_key(), bytes(public));
        assert_eq!(key.sign(&message), bytes(signature));
        assert!(verdict(bytes(public), &message, bytes(signature)));
    }
}

/// The group's order, little-endian: 2²⁵² + 27742317777372353535851937790883648493.
const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

/// Encodings of the eight points of small order: the canonical ones, then those with y ≥ p, or x = 0 with a sign.
const SMALL_ORDER: [&str; 14] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
];

#[test]
fn zip_215_accepts_every_pair_of_small_order_points_single_and_in_batches() {
    // With s = 0 the equation is [8]R + [8][k]A = 0: true for all of them, whatever k is.
    for key in SMALL_ORDER {
        for r in SMALL_ORDER {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&bytes::<32>(r));
            assert!(verdict(bytes(key), b"Zcash", signature), "A {key}, R {r}");
        }
    }
}

#[test]
fn a_scalar_not_below_the_order_is_refused_though_the_equation_holds() {
    // One signature must not become two by adding the order to s.
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&bytes::<32>(SMALL_ORDER[0]));
    assert!(verdict(bytes(SMALL_ORDER[0]), b"", signature));
    signature[32..].copy_from_slice(&bytes::<32>(ORDER));
    assert!(!verdict(bytes(SMALL_ORDER[0]), b"", signature));
}

#[test]
fn bytes_that_are_no_point_are_refused() {
    // y = 2 has no x on the curve.
    let mut no_point = [0; 32];
    no_point[0] = 2;
    let honest = SecretKey::from_seed([3; 32]);
    let good = honest.sign(b"m");
    assert!(!verdict(no_point, b"m", good));
    let mut signature = good;
    signature[..32].copy_from_slice(&no_point);
    assert!(!verdict(honest.public_key(), b"m", signature));
}
