//! What signatures cost on this machine: microseconds for each operation, one thread, the best of several runs.
//!
//! `cargo run --release -p violeta-crypto --example signature_costs`
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "an example that measures time and prints it"
)]

use std::hint::black_box;
use std::time::Instant;

use violeta_crypto::signing::{verify_transaction, verify_transactions};
use violeta_crypto::{
    BlsThreshold, ClientSecretKey, ShareSigner, Threshold, ThresholdMessage, deal,
};
use violeta_types::{ChainId, Domain, Epoch, Round, TxId, ValidatorIndex};

const RUNS: u32 = 5;

fn main() {
    ed25519();
    for members in [4, 100] {
        threshold(members);
    }
}

fn ed25519() {
    let signed: Vec<_> = (0..1_024u32)
        .map(|i| {
            let seed = Domain::Transaction.hash(&i.to_le_bytes());
            let (key, id) = (ClientSecretKey::from_seed(seed.0), TxId(seed));
            (key.public_key(), id, key.sign_transaction(&id))
        })
        .collect();
    let secret = ClientSecretKey::from_seed([1; 32]);
    measure("ed25519 sign", 1_024, || {
        for (_, id, _) in &signed {
            black_box(secret.sign_transaction(id));
        }
    });
    measure("ed25519 verify, single", 1_024, || {
        for (key, id, signature) in &signed {
            verify_transaction(key, id, signature).unwrap();
        }
    });
    for batch in [4, 16, 64, 256] {
        measure(&format!("ed25519 verify, batch of {batch}"), 1_024, || {
            for signed in signed.chunks(batch) {
                assert!(verify_transactions(signed).into_iter().all(|good| good));
            }
        });
    }
    let mut bad = signed[..256].to_vec();
    bad[100].1 = TxId::default();
    measure("ed25519 verify, batch of 256 with one bad", 256, || {
        black_box(verify_transactions(&bad));
    });
    bad.iter_mut().for_each(|signed| signed.1 = TxId::default());
    measure("ed25519 verify, batch of 256, all bad", 256, || {
        black_box(verify_transactions(&bad));
    });
}

fn threshold(members: usize) {
    let quorum = members - (members - 1) / 3;
    let dealing = deal(members, quorum, [1; 32]).unwrap();
    let new = || BlsThreshold::new(&dealing.group_key, &dealing.share_keys, quorum).unwrap();
    let key = new();
    let message = ThresholdMessage::coin(&ChainId::default(), Epoch(0), Round(1));
    let other = ThresholdMessage::coin(&ChainId::default(), Epoch(0), Round(2));
    let mut shares: Vec<_> = (0..)
        .map(ValidatorIndex)
        .zip(&dealing.secret_shares)
        .map(|(i, secret)| (i, secret.share(&message)))
        .collect();
    let signature = key.combine(&message, &shares).signature.unwrap();
    let name = |what: &str| format!("threshold {quorum} of {members}: {what}");
    measure(&name("check the keys"), 1, || {
        black_box(new());
    });
    measure(&name("make a share"), 1, || {
        black_box(dealing.secret_shares[0].share(&message));
    });
    measure(&name("combine, all good, with the check"), 1, || {
        black_box(key.combine(&message, &shares));
    });
    measure(&name("check a signature"), 1, || {
        assert!(key.verify(&message, &signature));
    });
    let batch = [(message, &shares[..]); 4];
    measure(&name("combine four together, with the check"), 4, || {
        black_box(key.combine_all(&batch));
    });
    shares[0].1 = dealing.secret_shares[0].share(&other);
    measure(&name("combine, one bad among the first"), 1, || {
        assert!(key.combine(&message, &shares).signature.is_some());
    });
}

/// Prints the least time of `RUNS` runs, divided by the operations of a run.
fn measure(what: &str, operations: u32, mut run: impl FnMut()) {
    let best = (0..RUNS).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed()
    });
    let micros = best.min().unwrap_or_default().as_secs_f64() * 1e6 / f64::from(operations);
    println!("{what:55} {micros:9.1} µs");
}
