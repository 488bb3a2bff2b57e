//! The client against gateways that lie, stall, refuse and go away.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use violeta_proof::ProofError;
use violeta_types::{Height, Nonce, Refusal, TimeMs, Transaction};

use crate::nonces::{NonceError, Nonces, UNDER_WAY_MAX};
use crate::testing::Manner::{self, *};
use crate::testing::{Cluster, SPACE};
use crate::{At, Client, ClientError, Operations, Part};

async fn cluster_with_first(manner: Manner) -> Cluster {
    Cluster::new([manner, Honest, Honest, Honest]).await
}

/// A cluster whose first gateway turned to `manner` after alice and bob had got their values, and a client.
async fn with_liar(manner: Manner) -> (Cluster, Client) {
    let cluster = Cluster::honest().await;
    let client = cluster.client().await;
    client.put(SPACE, "alice", "500").await.unwrap();
    client.put(SPACE, "bob", "20").await.unwrap();
    client.put(SPACE, "alice", "1000").await.unwrap();
    cluster.gateways[0].becomes(manner);
    (cluster, client)
}

#[tokio::test]
async fn a_write_is_proved_and_read_back_with_proof() {
    let cluster = Cluster::honest().await;
    let client = cluster.client().await;
    let receipt = client.put(SPACE, "alice", "1000").await.unwrap();
    assert_eq!(receipt.outcome.height, Height(1));
    let proved = client
        .get_proved(SPACE, "alice", At::Certified)
        .await
        .unwrap();
    let value = proved.value.unwrap();
    assert_eq!(
        (&value.value[..], value.written_at),
        (&b"1000"[..], Height(1))
    );
    assert_eq!(
        client.get(SPACE, "nobody", At::Certified).await.unwrap(),
        None
    );
    assert!(client.incidents().is_empty());
    assert_eq!(client.unresolved(), 0);
    assert_eq!(client.head().await.unwrap().head().height, Height(1));
}

#[tokio::test]
async fn every_lie_is_refused_with_its_part_and_the_next_validator_tells_the_truth() {
    type Expected = fn(&Part) -> bool;
    let table: [(Manner, Expected); 6] = [
        (ForgesValue, |p| {
            matches!(p, Part::Proof(ProofError::Tree(_)))
        }),
        (DeniesKeys, |p| {
            matches!(p, Part::Proof(ProofError::Tree(_)))
        }),
        (ServesAnotherChain, |p| {
            matches!(p, Part::Proof(ProofError::OtherChain { .. }))
        }),
        (Truncates, |p| {
            matches!(p, Part::Proof(ProofError::Encoding(_)))
        }),
        (FabricatesCertificates, |p| {
            matches!(p, Part::Proof(ProofError::BadSignature(_)))
        }),
        (ProvesAnotherKey, |p| {
            matches!(p, Part::OtherQuestion { what: "key", .. })
        }),
    ];
    for (manner, expected) in table {
        let (_cluster, client) = with_liar(manner).await;
        let proved = client
            .get_proved(SPACE, "alice", At::Certified)
            .await
            .unwrap();
        assert_eq!(&proved.value.unwrap().value[..], b"1000", "{manner:?}");
        assert!(proved.validator.starts_with("v1 "), "{manner:?}");
        let incidents = client.incidents();
        assert_eq!(incidents.len(), 1, "{manner:?}: {incidents:?}");
        assert!(incidents[0].validator.starts_with("v0 "), "{manner:?}");
        assert_eq!(incidents[0].asked, "bank/alice");
        assert!(
            expected(&incidents[0].part),
            "{manner:?}: {:?}",
            incidents[0].part
        );
        // Who lied is asked last from now on.
        client.get(SPACE, "alice", At::Certified).await.unwrap();
        assert_eq!(client.incidents().len(), 1, "{manner:?}");
    }
}

#[tokio::test]
async fn a_word_that_the_client_has_no_key_for_is_nobody_s_lie() {
    let cluster = Cluster::honest().await;
    let writer = cluster.client().await;
    writer.put(SPACE, "alice", "1").await.unwrap();
    let mut config = cluster.config();
    (config.key, config.state_path) = (None, None);
    let group_key = violeta_types::GroupPublicKey([1; 96]);
    config.trust = violeta_proof::Trust::in_group(writer.chain(), group_key);
    let reader = Client::new(config).unwrap();
    // This chain's heads have no seals yet: gateways answer with certificates, whatever they are asked for.
    let error = reader.get(SPACE, "alice", At::Certified).await.unwrap_err();
    let lacking = matches!(
        error,
        ClientError::NotJudged {
            reason: ProofError::NoCommittee,
            ..
        }
    );
    assert!(lacking, "{error}");
    assert_eq!(reader.incidents(), []);
}

#[tokio::test]
async fn an_old_head_is_no_lie_and_no_answer_either() {
    let (_cluster, client) = with_liar(ServesOldHeads).await;
    let value = client.get(SPACE, "alice", At::Certified).await.unwrap();
    assert_eq!(value.unwrap(), "1000", "not the 500 of height 1");
    // Asked for a height, it must answer for that one.
    let value = client
        .get(SPACE, "alice", At::Height(Height(2)))
        .await
        .unwrap();
    assert_eq!(value.unwrap(), "500");
    let part = client.incidents().pop().unwrap().part;
    assert!(
        matches!(part, Part::OtherQuestion { what: "height", .. }),
        "{part}"
    );
}

#[tokio::test]
async fn an_old_newest_head_is_no_lie_and_no_answer_either() {
    let (_cluster, client) = with_liar(ServesOldHeads).await;
    assert_eq!(client.head().await.unwrap().head().height, Height(3));
    let (head, _) = client.head_at(Height(2)).await.unwrap();
    assert_eq!(head.head().height, Height(2));
    assert_eq!(client.incidents(), []);
    let error = client.head_at(Height(9)).await.unwrap_err();
    assert!(matches!(error, ClientError::Answer { .. }), "{error}");
}

/// Alice's value is set, overwritten, taken away and set again, with others' blocks between; of what the first gateway
/// says of that nothing is believed that isn't proved, and nothing that is left out goes unnoticed.
#[tokio::test]
async fn a_history_is_what_is_proved_whatever_the_first_validator_says_of_it() {
    type Expected = fn(&Part) -> bool;
    let table: [(Manner, Expected); 4] = [
        (Honest, |_| false),
        (InventsDeletions, |p| matches!(p, Part::History { .. })),
        (InventsVersions, |p| matches!(p, Part::Form(_))),
        (ForgetsHistory, |_| false),
    ];
    for (manner, expected) in table {
        let (cluster, client) = with_liar(Honest).await;
        client.delete(SPACE, "alice").await.unwrap();
        client.put(SPACE, "bob", "21").await.unwrap();
        client.put(SPACE, "alice", "7").await.unwrap();
        client.put(SPACE, "bob", "22").await.unwrap();
        cluster.gateways[0].becomes(manner);
        let history = async |limit| {
            let entries = client.history(SPACE, "alice", limit).await.unwrap();
            let entries = entries.into_iter();
            let entries = entries.map(|e| (e.height.0, e.value.map(|v| v.to_vec())));
            entries.collect::<Vec<_>>()
        };
        let value = |text: &str| Some(text.as_bytes().to_vec());
        let all = [
            (6, value("7")),
            (4, None),
            (3, value("1000")),
            (1, value("500")),
        ];
        assert_eq!(history(10).await, all, "{manner:?}");
        assert_eq!(history(2).await, all[..2], "{manner:?}");
        assert_eq!(history(0).await, [], "{manner:?}");
        let incidents = client.incidents();
        let caught = incidents.iter().filter(|i| expected(&i.part)).count();
        assert_eq!(caught, incidents.len(), "{manner:?}: {incidents:?}");
        let lied = matches!(manner, InventsDeletions | InventsVersions);
        assert_eq!(caught > 0, lied, "{manner:?}");
    }
}

#[tokio::test]
async fn a_key_that_was_never_there_has_no_history_even_if_somebody_invents_one() {
    let (cluster, client) = with_liar(InventsDeletions).await;
    assert_eq!(client.history(SPACE, "nobody", 10).await.unwrap(), []);
    assert!(matches!(
        client.incidents().pop().unwrap().part,
        Part::History { .. }
    ));
    for gateway in &cluster.gateways {
        gateway.becomes(InventsVersions);
    }
    let error = client.history(SPACE, "nobody", 10).await.unwrap_err();
    assert!(matches!(error, ClientError::Unverified { .. }), "{error}");
}

/// A block of a chain of accounts that says that the client's nonces have got this far.
fn spend(cluster: &Cluster, client: &Client, highest: u64) {
    let key = violeta_crypto::ClientSecretKey::from_seed([9; 32]).public_key();
    let account = crate::account::encoded(key, highest, &[highest]);
    let put = violeta_types::Operation::Put {
        namespace: crate::account::ACCOUNTS.try_into().unwrap(),
        key: client.id().unwrap().as_ref().try_into().unwrap(),
        value: account[..].try_into().unwrap(),
    };
    let body = violeta_types::TransactionBody {
        chain: client.chain(),
        key,
        nonce: Nonce(highest),
        expires: TimeMs(u64::MAX),
        operations: vec![put].try_into().unwrap(),
    };
    let signature = violeta_types::ClientSignature([0; 64]);
    cluster.chain.execute(&Transaction { body, signature });
}

#[tokio::test]
async fn with_its_nonces_lost_a_client_begins_above_what_a_quorum_knows_and_not_what_one_says() {
    let mut cluster = Cluster::honest().await;
    *cluster.chain.space.lock().unwrap() = crate::account::ACCOUNTS;
    cluster.gateways[0].becomes(ServesOldHeads);
    let client = soon_at_its_end(&cluster).await;
    spend(&cluster, &client, 3);
    spend(&cluster, &client, 2_000);
    for at in 1..4 {
        cluster.kill(at);
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    // What it proves is true, and old: above 3 the lost file may have signed.
    let error = client.submit(Operations::new()).await.err().unwrap();
    let said = error.to_string();
    let ClientError::NoBeginning {
        needed, answered, ..
    } = error
    else {
        panic!("{said}");
    };
    assert_eq!((needed, answered.len()), (Some(3), 1), "{said}");
}

#[tokio::test]
async fn with_its_nonces_lost_a_client_takes_no_less_than_a_quorum_s_word() {
    let mut cluster = Cluster::honest().await;
    *cluster.chain.space.lock().unwrap() = crate::account::ACCOUNTS;
    // Two of four hold more than f of the stake. The one lies, and the other, who is honest, lags.
    cluster.gateways[0].becomes(ServesOldHeads);
    cluster.gateways[1].becomes(ServesOldHeads);
    let client = soon_at_its_end(&cluster).await;
    spend(&cluster, &client, 3);
    spend(&cluster, &client, 2_000);
    cluster.kill(2);
    cluster.kill(3);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = client.submit(Operations::new()).await.err().unwrap();
    let said = error.to_string();
    let ClientError::NoBeginning {
        needed, answered, ..
    } = error
    else {
        panic!("{said}");
    };
    assert_eq!((needed, answered.len()), (Some(3), 2), "{said}");
}

/// A client that doesn't try for long.
async fn soon_at_its_end(cluster: &Cluster) -> Client {
    let mut config = cluster.config();
    config.expiry = Duration::from_millis(100);
    cluster.client_with(config).await
}

#[tokio::test]
async fn the_first_use_of_a_key_waits_for_a_quorum_to_come_back() {
    let mut cluster = Cluster::honest().await;
    *cluster.chain.space.lock().unwrap() = crate::account::ACCOUNTS;
    let (client, returning) = (cluster.client().await, cluster.gateways[2].clone());
    spend(&cluster, &client, 3);
    cluster.kill(3);
    returning.becomes(Truncates);
    let comes_back = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        returning.becomes(Honest);
    };
    let (pending, ()) = tokio::join!(client.submit(Operations::new()), comes_back);
    // The lost file may have signed up to 3 + 768.
    assert_eq!(pending.unwrap().nonce().0, 772);
}

/// Twenty that come at once to a key that is new.
async fn twenty(client: &Client) -> Vec<Result<Nonce, ClientError>> {
    let submits = (0..20).map(|_| client.submit(Operations::new()));
    let submitted = futures::future::join_all(submits).await.into_iter();
    let nonces = submitted.map(|pending| pending.map(|pending| pending.nonce()));
    nonces.collect()
}

#[tokio::test]
async fn without_a_quorum_all_that_use_a_key_for_the_first_time_are_told_so_when_their_time_is_over()
 {
    let mut cluster = Cluster::honest().await;
    let client = soon_at_its_end(&cluster).await;
    cluster.kill(2);
    cluster.kill(3);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let begun = Instant::now();
    for submitted in twenty(&client).await {
        let error = submitted.unwrap_err();
        assert!(matches!(error, ClientError::NoBeginning { .. }), "{error}");
    }
    let took = begun.elapsed();
    assert!(
        took < Duration::from_secs(5),
        "not one after another: {took:?}"
    );
}

#[tokio::test]
async fn once_a_quorum_is_back_all_that_use_a_key_for_the_first_time_have_nonces_of_their_own() {
    let mut cluster = Cluster::honest().await;
    *cluster.chain.space.lock().unwrap() = crate::account::ACCOUNTS;
    let (client, returning) = (cluster.client().await, cluster.gateways[2].clone());
    spend(&cluster, &client, 3);
    cluster.kill(3);
    returning.becomes(Truncates);
    let comes_back = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        returning.becomes(Honest);
    };
    let (submitted, ()) = tokio::join!(twenty(&client), comes_back);
    let nonces: BTreeSet<u64> = submitted
        .into_iter()
        .map(|nonce| nonce.unwrap().0)
        .collect();
    // The lost file may have signed up to 3 + 768.
    assert_eq!(nonces, (772..792).collect());
}

#[tokio::test]
async fn whoever_reaches_nobody_is_told_at_once_and_whoever_reaches_some_who_they_are() {
    let mut cluster = Cluster::honest().await;
    for at in 1..4 {
        cluster.kill(at);
    }
    // Of two that it was told of both must answer.
    let mut config = cluster.config();
    config.endpoints.truncate(2);
    config.expiry = Duration::from_millis(100);
    let client = Client::new(config).unwrap();
    let error = client.submit(Operations::new()).await.err().unwrap();
    let said = error.to_string();
    let expected = "used here for the first time: 2 of the 2 validators that are asked must say which of them are \
                    spent, and 1 did (v0 (http://";
    assert!(said.contains(expected), "{said}");
    assert!(
        said.contains("of the others: no validator could be reached (v1 ("),
        "{said}"
    );
    drop(client);

    cluster.kill(0);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let begun = Instant::now();
    let client = Client::new(cluster.config()).unwrap();
    let error = client.submit(Operations::new()).await.err().unwrap();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    assert!(begun.elapsed() < cluster.config().expiry);
}

/// As a load that goes on does it: the first nonce that is taken from a new file is a barrier's.
#[tokio::test]
async fn with_its_nonces_lost_a_client_that_asks_for_a_fate_signs_no_nonce_again() {
    let cluster = Cluster::honest().await;
    *cluster.chain.space.lock().unwrap() = crate::account::ACCOUNTS;
    let client = cluster.client().await;
    let began = crate::client::now_ms();
    cluster.chain.set_time(began);
    spend(&cluster, &client, 3);
    // The chain stands still at the expiry; the next block is after it.
    cluster.chain.set_time(TimeMs(began.0 + 1));
    let lost = violeta_types::TxId(violeta_types::Digest([7; 32]));
    let fate = client.fate(lost, Nonce(2), began).await;
    assert!(matches!(fate, Err(ClientError::Expired { .. })), "{fate:?}");
    let barriers = cluster.gateways.iter().flat_map(|g| g.received());
    let nonces: BTreeSet<u64> = barriers
        .map(|bytes| Transaction::decode(&bytes).unwrap().body.nonce.0)
        .collect();
    // The lost file may have signed up to 3 + 768.
    assert_eq!(nonces, [772].into());
}

#[tokio::test]
async fn one_who_lags_doesn_t_make_a_client_sign_a_nonce_again() {
    let cluster = Cluster::honest().await;
    *cluster.chain.space.lock().unwrap() = crate::account::ACCOUNTS;
    cluster.gateways[0].becomes(ServesOldHeads);
    let client = cluster.client().await;
    spend(&cluster, &client, 3);
    spend(&cluster, &client, 2_000);
    let pending = client.submit(Operations::new()).await.unwrap();
    // The lost file may have signed up to 2,000 + 768.
    assert_eq!(pending.nonce().0, 2_769);
    assert_eq!(client.incidents(), [], "to lag is no lie");
}

#[tokio::test]
async fn where_all_lie_nothing_is_believed() {
    let cluster = Cluster::honest().await;
    let client = cluster.client().await;
    client.put(SPACE, "alice", "1000").await.unwrap();
    for gateway in &cluster.gateways {
        gateway.becomes(ForgesValue);
    }
    let error = client.get(SPACE, "alice", At::Certified).await.unwrap_err();
    let ClientError::Unverified { incident } = &error else {
        panic!("{error}");
    };
    assert!(matches!(incident.part, Part::Proof(ProofError::Tree(_))));
    assert_eq!(client.incidents().len(), 4);
    for gateway in &cluster.gateways {
        gateway.becomes(FabricatesCertificates);
    }
    assert!(matches!(
        client.head().await,
        Err(ClientError::Unverified { .. })
    ));
}

#[tokio::test]
async fn a_forged_outcome_is_refused_and_the_true_one_found() {
    let cluster = cluster_with_first(ForgesOutcomes).await;
    let client = cluster.client().await;
    let receipt = client.put(SPACE, "alice", "1000").await.unwrap();
    assert_eq!(receipt.outcome.refused, None);
    assert!(receipt.validator.starts_with("v1 "));
    let part = client.incidents().pop().unwrap().part;
    assert_eq!(part, Part::Proof(ProofError::Results));
}

#[tokio::test]
async fn that_nobody_knows_a_transaction_isnt_one_validator_s_to_say() {
    let mut cluster = Cluster::honest().await;
    let client = cluster.client().await;
    let nobody_s = violeta_types::TxId(violeta_types::Digest([7; 32]));
    cluster.kill(2);
    cluster.kill(3);
    tokio::time::sleep(Duration::from_millis(50)).await;
    // Two of four: one of them is honest.
    assert_eq!(client.outcome(nobody_s).await.unwrap(), None);
    cluster.kill(1);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = client.outcome(nobody_s).await.unwrap_err();
    let ClientError::TooFewSay {
        validators, others, ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!(validators.len(), 1);
    assert!(validators[0].starts_with("v0 "));
    let Some(ClientError::Unreachable { attempts }) = others.as_deref() else {
        panic!("{others:?}");
    };
    assert_eq!(attempts.len(), 3);
    let text = error.to_string();
    assert!(
        text.contains("has no proof of") && text.contains("v3 "),
        "{text}"
    );
}

#[tokio::test]
async fn whoever_knows_one_validator_alone_isnt_told_that_none_knows() {
    let cluster = Cluster::honest().await;
    let mut config = cluster.config();
    config.endpoints.truncate(1);
    (config.key, config.state_path) = (None, None);
    let client = Client::new(config).unwrap();
    let nobody_s = violeta_types::TxId(violeta_types::Digest([7; 32]));
    let error = client.outcome(nobody_s).await.unwrap_err();
    let alone = matches!(error, ClientError::TooFewSay { others: None, .. });
    assert!(alone, "{error}");
}

#[tokio::test]
async fn a_refusal_is_proved_and_final() {
    let cluster = Cluster::honest().await;
    *cluster.chain.refuses.lock().unwrap() = Some(Refusal::ConditionFailed);
    let client = cluster.client().await;
    let error = client.put(SPACE, "alice", "1").await.unwrap_err();
    let ClientError::Refused { refusal, outcome } = &error else {
        panic!("{error}");
    };
    assert_eq!(
        (*refusal, outcome.height),
        (Refusal::ConditionFailed, Height(1))
    );
    assert!(error.to_string().contains("(operation 0)"), "{error}");
    assert_eq!(client.unresolved(), 0);
}

#[tokio::test]
async fn silence_brings_the_same_bytes_to_as_many_as_can_t_all_be_faulty() {
    let cluster = cluster_with_first(Stalls).await;
    let client = cluster.client().await;
    let begun = Instant::now();
    let receipt = client.put(SPACE, "alice", "1000").await.unwrap();
    assert!(receipt.validator.starts_with("v1 "));
    let patience = Duration::from_millis(crate::limits::PATIENCE_MS_MAX);
    assert!(begun.elapsed() >= patience, "it gave the first one time");
    let received: Vec<_> = cluster.gateways.iter().map(|g| g.received()).collect();
    assert_eq!(received[0], received[1], "the same bytes");
    assert_eq!(received[0].len(), 1);
    assert!(
        received[2].is_empty() && received[3].is_empty(),
        "two of four are enough"
    );
    assert_eq!(cluster.chain.height(), 1);
}

#[tokio::test]
async fn one_who_takes_transactions_and_drops_them_only_costs_time() {
    let cluster = cluster_with_first(Swallows).await;
    let client = cluster.client().await;
    client.put(SPACE, "alice", "1").await.unwrap();
    assert!(cluster.gateways[2].received().is_empty());
    assert_eq!(cluster.chain.height(), 1, "executed once");
}

#[tokio::test]
async fn one_who_takes_a_transaction_and_drops_it_while_the_others_are_busy_only_costs_time() {
    let cluster = Cluster::new([Swallows, IsBusy, IsBusy, IsBusy]).await;
    let client = cluster.client().await;
    let put = tokio::spawn({
        let client = client.clone();
        async move { client.put(SPACE, "alice", "1").await }
    });
    // All have been asked by then, and all but the liar said no.
    tokio::time::sleep(Duration::from_millis(2 * crate::limits::PATIENCE_MS_MAX)).await;
    for gateway in &cluster.gateways[1..] {
        gateway.becomes(Honest);
    }
    let receipt = tokio::time::timeout(Duration::from_secs(5), put).await;
    receipt.expect("long before it expires").unwrap().unwrap();
    assert_eq!(cluster.chain.height(), 1);
}

#[tokio::test]
async fn what_a_batch_delivered_is_never_said_to_have_reached_nobody() {
    let mut cluster = Cluster::new([Swallows, Swallows, Swallows, Swallows]).await;
    let client = cluster.client().await;
    let puts = vec![Operations::new().put(SPACE, "alice", "1").unwrap()];
    let pending = client.submit_batch(puts).await.unwrap();
    for at in 0..4 {
        cluster.kill(at);
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    // Unreachable would say that it can be submitted anew: then it might be executed twice.
    let waited = tokio::time::timeout(Duration::from_secs(2), pending[0].wait()).await;
    assert!(waited.is_err(), "{waited:?}");
}

#[tokio::test]
async fn who_is_gone_busy_or_unwilling_is_replaced_at_once() {
    let mut cluster = Cluster::new([Honest, IsBusy, Rejects, Honest]).await;
    let client = cluster.client().await;
    cluster.kill(0);
    tokio::task::yield_now().await;
    let begun = Instant::now();
    let receipt = client.put(SPACE, "alice", "1").await.unwrap();
    assert!(receipt.validator.starts_with("v3 "));
    let patience = Duration::from_millis(crate::limits::PATIENCE_MS_MAX);
    assert!(begun.elapsed() < patience);
}

#[tokio::test]
async fn what_more_than_f_of_the_stake_won_t_take_isn_t_taken() {
    let cluster = Cluster::new([Rejects, Rejects, Stalls, Stalls]).await;
    let client = cluster.client().await;
    let error = client.put(SPACE, "alice", "1").await.unwrap_err();
    assert!(matches!(error, ClientError::NotTaken { .. }), "{error}");
    assert_eq!(
        client.unresolved(),
        1,
        "one of them may have lied: the nonce stays taken"
    );
}

#[tokio::test]
async fn nobody_there_is_said_at_once_with_whom_was_asked() {
    let mut cluster = Cluster::honest().await;
    let client = cluster.client().await;
    client.put(SPACE, "alice", "1").await.unwrap();
    for at in 0..4 {
        cluster.kill(at);
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = client.get(SPACE, "alice", At::Certified).await.unwrap_err();
    let ClientError::Unreachable { attempts } = &error else {
        panic!("{error}");
    };
    assert_eq!(attempts.len(), 4);
    assert!(error.to_string().contains("v3 "), "{error}");
}

#[tokio::test]
async fn a_transaction_that_came_to_nothing_is_proved_to_have() {
    let cluster = Cluster::honest().await;
    let client = expiring(&cluster, LONG).await;
    client.put(SPACE, "alice", "1").await.unwrap();
    drop(client);
    let client = expiring(&cluster, Duration::from_millis(600)).await;
    for gateway in &cluster.gateways {
        gateway.becomes(Swallows);
    }
    let pending = client
        .submit(Operations::new().put(SPACE, "alice", "2").unwrap())
        .await
        .unwrap();
    let settling = async {
        // After the expiry a block is made again, by whomever.
        tokio::time::sleep(Duration::from_millis(900)).await;
        cluster.chain.set_time(TimeMs(pending.expires().0 + 1));
        let other = Transaction::decode(pending.bytes()).unwrap();
        let other = Transaction {
            body: violeta_types::TransactionBody {
                nonce: Nonce(77),
                operations: Default::default(),
                ..other.body
            },
            signature: other.signature,
        };
        cluster.chain.execute(&other);
    };
    let (result, ()) = tokio::join!(pending.wait(), settling);
    let error = result.unwrap_err();
    assert!(matches!(error, ClientError::Expired { transaction } if transaction == pending.id()));
    assert_eq!(
        client
            .get(SPACE, "alice", At::Certified)
            .await
            .unwrap()
            .unwrap(),
        "1"
    );
}

#[tokio::test]
async fn a_linearizable_read_orders_a_barrier_of_its_own() {
    let cluster = Cluster::honest().await;
    let client = cluster.client().await;
    client.put(SPACE, "alice", "1").await.unwrap();
    let proved = client
        .get_proved(SPACE, "alice", At::Linearizable)
        .await
        .unwrap();
    assert_eq!(proved.head.head().height, Height(2), "the barrier's block");
    assert_eq!(&proved.value.unwrap().value[..], b"1");
}

#[tokio::test]
async fn a_batch_leaves_in_one_request_and_each_is_proved() {
    let cluster = Cluster::honest().await;
    let client = cluster.client().await;
    let puts = ["alice", "bob", "carol"].map(|key| Operations::new().put(SPACE, key, "1").unwrap());
    let pending = client.submit_batch(puts.to_vec()).await.unwrap();
    assert_eq!(client.unresolved(), 3);
    let nonces: Vec<_> = pending.iter().map(|p| p.nonce().0).collect();
    assert_eq!(nonces, [1, 2, 3]);
    assert_eq!(
        cluster.gateways[0].received().len(),
        3,
        "sent before anybody waits"
    );
    let waits = futures::future::join_all(pending.iter().map(|p| p.wait())).await;
    let mut heights: Vec<_> = waits
        .into_iter()
        .map(|r| r.unwrap().outcome.height.0)
        .collect();
    heights.sort_unstable();
    assert_eq!(heights, [1, 2, 3], "each once");
    assert_eq!(client.unresolved(), 0);
}

#[tokio::test]
async fn nonces_go_on_after_a_restart_and_two_processes_can_t_share_them() {
    let cluster = Cluster::honest().await;
    let first = cluster.client().await;
    first.put(SPACE, "alice", "1").await.unwrap();
    let second = Client::new(cluster.config());
    let in_use = matches!(second, Err(ClientError::Nonces(NonceError::InUse { .. })));
    assert!(in_use);
    drop(first);
    let again = cluster.client().await;
    again.put(SPACE, "alice", "2").await.unwrap();
    let nonces: Vec<_> = cluster.gateways[0]
        .received()
        .iter()
        .map(|bytes| Transaction::decode(bytes).unwrap().body.nonce.0)
        .collect();
    assert_eq!(nonces, [1, 2]);
}

/// How long transactions stay valid where a test doesn't wait for their end: longer than the slowest machine takes.
const LONG: Duration = Duration::from_secs(60);

async fn expiring(cluster: &Cluster, expiry: Duration) -> Client {
    let mut config = cluster.config();
    config.expiry = expiry;
    cluster.client_with(config).await
}

/// A process signed so many transactions, from nonce `first` on, and ended: none of them has reached anybody. What it
/// signed before is executed.
fn sign_and_be_lost(cluster: &Cluster, first: Nonce, count: u64, expiry: Duration) {
    let config = cluster.config();
    let (chain, key) = (config.trust.chain(), config.key.unwrap().public_key());
    let nonces = Nonces::open(&config.state_path.unwrap(), chain, key).unwrap();
    let nonces = Arc::new(nonces).begin_above(Nonce(0)).unwrap();
    (1..first.0).for_each(|nonce| nonces.spent(Nonce(nonce)));
    let expires = TimeMs(crate::client::now_ms().0 + expiry.as_millis() as u64);
    let signed = nonces.reserve(count, expires).unwrap();
    assert_eq!(signed.start, first.0);
}

/// A put of an earlier process reached nobody, and its nonce, 2, is the lowest unresolved one. The chain's time stands
/// still before its expiry.
async fn with_a_put_that_reached_nobody(expiry: Duration) -> Cluster {
    let cluster = Cluster::honest().await;
    let client = expiring(&cluster, LONG).await;
    client.put(SPACE, "alice", "1").await.unwrap();
    drop(client);
    sign_and_be_lost(&cluster, Nonce(2), 1, expiry);
    cluster
}

async fn puts(client: &Client, count: usize) -> Result<(), ClientError> {
    let put = || Operations::new().put(SPACE, "alice", "3").unwrap();
    let puts = std::iter::repeat_with(put).take(count).collect();
    for pending in client.submit_batch(puts).await? {
        pending.wait().await?;
    }
    Ok(())
}

#[tokio::test]
async fn after_a_put_that_reached_nobody_a_load_of_more_than_the_spread_goes_through() {
    let cluster = with_a_put_that_reached_nobody(Duration::from_secs(1)).await;
    let client = expiring(&cluster, LONG).await;
    for _ in 0..4 {
        puts(&client, 100).await.unwrap();
    }
    // The fifth hundred doesn't fit into the spread.
    cluster.chain.go_by_the_time_of_day();
    for _ in 0..2 {
        puts(&client, 100).await.unwrap();
    }
    // This chain has no accounts: it doesn't tell that the barrier was executed.
    assert_eq!(client.unresolved(), 1, "all but the barrier");
}

#[tokio::test]
async fn a_client_whose_spread_is_full_gets_on_by_itself_on_an_idle_chain() {
    let cluster = with_a_put_that_reached_nobody(Duration::from_millis(1)).await;
    // A load is interrupted when the spread is full: nonces 3 to 481 are executed.
    let client = expiring(&cluster, LONG).await;
    puts(&client, 240).await.unwrap();
    puts(&client, 239).await.unwrap();
    drop(client);
    // Later: nobody has submitted anything since, and by the clock, not by the chain, the put that is lost has expired.
    let idle_at = cluster.chain.height();
    cluster.chain.go_by_the_time_of_day();
    let client = expiring(&cluster, LONG).await;
    client.put(SPACE, "alice", "4").await.unwrap();
    assert_eq!(cluster.chain.height(), idle_at + 2, "a barrier and the put");
}

/// Somebody asks for a fate, and is gone once all have been sent the barrier that it signed for that, and say that they
/// take it.
async fn ask_for_a_fate_and_go(cluster: &Cluster, client: &Client) {
    let received = || (cluster.gateways.iter()).map(|gateway| gateway.received().len());
    let before: Vec<usize> = received().collect();
    let all_have_more = async {
        while received().zip(&before).any(|(now, before)| now == *before) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let lost = violeta_types::TxId(violeta_types::Digest([7; 32]));
    tokio::select! {
        fate = client.fate(lost, Nonce(99), crate::client::now_ms()) => panic!("{fate:?}"),
        () = all_have_more => {}
    }
}

/// An earlier process has asked for a fate: the barrier that it signed for that, nonce 2, is the lowest unresolved one.
/// All said that they take it, and lost it.
async fn with_a_barrier_that_was_taken_and_lost() -> (Cluster, Client) {
    let cluster = Cluster::honest().await;
    cluster.chain.keep_accounts();
    let client = expiring(&cluster, LONG).await;
    client.put(SPACE, "alice", "1").await.unwrap();
    (cluster.gateways.iter()).for_each(|gateway| gateway.becomes(Swallows));
    ask_for_a_fate_and_go(&cluster, &client).await;
    (cluster.gateways.iter()).for_each(|gateway| gateway.becomes(Honest));
    assert_eq!(client.unresolved(), 1, "the barrier");
    (cluster, client)
}

#[tokio::test]
async fn a_barrier_that_was_lost_is_sent_again_where_it_stands_in_the_way() {
    for reopened in [false, true] {
        let (cluster, mut client) = with_a_barrier_that_was_taken_and_lost().await;
        if reopened {
            drop(client);
            client = expiring(&cluster, LONG).await;
        }
        // It has eight minutes yet to expire.
        cluster.chain.go_by_the_time_of_day();
        for _ in 0..6 {
            puts(&client, 100).await.unwrap();
        }
        assert_eq!(client.unresolved(), 0, "reopened: {reopened}");
        assert_eq!(
            cluster.chain.height(),
            602,
            "all were executed, and one barrier"
        );
    }
}

/// The first block is made; then the nearest validator is cut off from the others. The client that knows the block is gone.
/// From now on blocks have the time of day.
async fn with_the_nearest_cut_off() -> Cluster {
    let cluster = Cluster::honest().await;
    cluster.chain.keep_accounts();
    let client = expiring(&cluster, LONG).await;
    client.put(SPACE, "alice", "1").await.unwrap();
    cluster.gateways[0].becomes(CutOff);
    cluster.chain.go_by_the_time_of_day();
    cluster
}

#[tokio::test]
async fn a_fate_is_found_out_though_the_nearest_validator_is_cut_off() {
    let cluster = with_the_nearest_cut_off().await;
    let client = cluster.client().await;
    let lost = violeta_types::TxId(violeta_types::Digest([7; 32]));
    let fate = client.fate(lost, Nonce(99), crate::client::now_ms()).await;
    assert!(matches!(fate, Err(ClientError::Expired { .. })), "{fate:?}");
    assert_eq!(cluster.chain.height(), 2, "one barrier");
}

#[tokio::test]
async fn what_became_of_a_transaction_is_found_out_though_the_nearest_validator_hides_it() {
    let cluster = Cluster::honest().await;
    cluster.chain.keep_accounts();
    let client = expiring(&cluster, LONG).await;
    let receipt = client.put(SPACE, "alice", "1").await.unwrap();
    cluster.gateways[0].becomes(HidesOutcomes);
    let begun = Instant::now();
    let found = client.outcome(receipt.outcome.transaction).await.unwrap();
    assert_eq!(found.unwrap().outcome, receipt.outcome);
    let read = Duration::from_millis(crate::limits::READ_MS_MAX);
    assert!(begun.elapsed() < read, "the others know it too");

    cluster.chain.go_by_the_time_of_day();
    let lost = violeta_types::TxId(violeta_types::Digest([7; 32]));
    let fate = client.fate(lost, Nonce(99), crate::client::now_ms()).await;
    assert!(matches!(fate, Err(ClientError::Expired { .. })), "{fate:?}");
}

#[tokio::test]
async fn a_full_spread_is_freed_though_the_nearest_validator_is_cut_off() {
    let cluster = with_the_nearest_cut_off().await;
    sign_and_be_lost(&cluster, Nonce(2), UNDER_WAY_MAX, Duration::ZERO);
    let client = expiring(&cluster, LONG).await;
    client.put(SPACE, "alice", "2").await.unwrap();
    assert_eq!(client.unresolved(), 0);
}

/// A transaction of which nobody has ever heard, whose nonce nobody has spent and whose time is over by the clock.
async fn fate_of_one_that_is_lost(client: &Client) -> Result<crate::Receipt, ClientError> {
    let lost = violeta_types::TxId(violeta_types::Digest([7; 32]));
    let expires = TimeMs(crate::client::now_ms().0 - 1);
    client.fate(lost, Nonce(99), expires).await
}

#[tokio::test]
async fn a_fate_is_found_out_though_one_hangs_and_the_clock_is_ahead_of_the_chains() {
    let cluster = Cluster::honest().await;
    cluster.chain.keep_accounts();
    let client = expiring(&cluster, LONG).await;
    client.put(SPACE, "alice", "1").await.unwrap();
    cluster.gateways[0].becomes(Hangs);
    // The first barriers' blocks are still before the expiry.
    cluster.chain.go_behind_the_time_of_day(3_000);
    let fate = fate_of_one_that_is_lost(&client).await;
    assert!(matches!(fate, Err(ClientError::Expired { .. })), "{fate:?}");
}

#[tokio::test]
async fn a_fate_is_found_out_by_who_was_told_of_two_of_four_though_one_of_them_hangs() {
    let cluster = Cluster::honest().await;
    cluster.chain.keep_accounts();
    let client = expiring(&cluster, LONG).await;
    client.put(SPACE, "alice", "1").await.unwrap();
    drop(client);
    cluster.gateways[0].becomes(Hangs);
    cluster.chain.go_by_the_time_of_day();
    let mut config = cluster.config();
    config.endpoints.truncate(2);
    let client = Client::new(config).unwrap();
    let fate = fate_of_one_that_is_lost(&client).await;
    assert!(matches!(fate, Err(ClientError::Expired { .. })), "{fate:?}");
}

#[tokio::test]
async fn that_nobody_knows_a_transaction_is_found_out_though_one_hangs() {
    let cluster = Cluster::honest().await;
    let client = cluster.client().await;
    cluster.gateways[0].becomes(Hangs);
    let nobody_s = violeta_types::TxId(violeta_types::Digest([7; 32]));
    let begun = Instant::now();
    assert_eq!(client.outcome(nobody_s).await.unwrap(), None);
    let read = Duration::from_millis(crate::limits::READ_MS_MAX);
    assert!(begun.elapsed() < read, "the others have said so");
}

#[tokio::test]
async fn the_first_transaction_of_a_chain_is_proved_to_have_come_to_nothing() {
    let cluster = Cluster::honest().await;
    cluster.chain.keep_accounts();
    cluster.chain.go_by_the_time_of_day();
    sign_and_be_lost(&cluster, Nonce(1), 1, Duration::ZERO);
    let client = cluster.client().await;
    let lost = violeta_types::TxId(violeta_types::Digest([7; 32]));
    let fate = client.fate(lost, Nonce(1), crate::client::now_ms()).await;
    assert!(matches!(fate, Err(ClientError::Expired { .. })), "{fate:?}");
    assert_eq!(cluster.chain.height(), 1, "one barrier");
    assert_eq!(client.unresolved(), 0);
}

#[tokio::test]
async fn a_full_spread_is_freed_on_a_chain_without_a_block() {
    let cluster = Cluster::honest().await;
    cluster.chain.keep_accounts();
    cluster.chain.go_by_the_time_of_day();
    sign_and_be_lost(&cluster, Nonce(1), UNDER_WAY_MAX, Duration::ZERO);
    let client = expiring(&cluster, LONG).await;
    client.put(SPACE, "alice", "1").await.unwrap();
    assert_eq!(cluster.chain.height(), 2, "a barrier and the put");
    assert_eq!(client.unresolved(), 0);
}

/// The first validator is sound and slow; the second lost its disk, and says at once that there is no block. A block is
/// there, with this receipt, and the client that made it is gone.
async fn with_a_slow_one_and_one_without_a_block() -> (Cluster, crate::Receipt) {
    let cluster = Cluster::honest().await;
    cluster.chain.keep_accounts();
    let client = expiring(&cluster, LONG).await;
    let receipt = client.put(SPACE, "alice", "1").await.unwrap();
    cluster.chain.seal_heads();
    cluster.gateways[0].takes_its_time(Duration::from_millis(200));
    cluster.gateways[1].becomes(HasNoBlock);
    (cluster, receipt)
}

/// A client that was told of these two, and of the group's key: it takes the word of one of them for enough.
fn told_of_two_and_the_groups_key(cluster: &Cluster) -> Client {
    let mut config = cluster.config();
    config.endpoints.truncate(2);
    config.trust = crate::testing::group_trust();
    Client::new(config).unwrap()
}

#[tokio::test]
async fn an_outcome_is_found_out_though_one_without_a_block_answers_first() {
    let (cluster, receipt) = with_a_slow_one_and_one_without_a_block().await;
    let client = told_of_two_and_the_groups_key(&cluster);
    let expires = TimeMs(crate::client::now_ms().0 - 1);
    let id = receipt.outcome.transaction;
    let fate = client.fate(id, Nonce(1), expires).await.unwrap();
    assert_eq!(fate.outcome, receipt.outcome);
}

#[tokio::test]
async fn a_fate_is_found_out_though_one_without_a_block_answers_first() {
    let (cluster, _) = with_a_slow_one_and_one_without_a_block().await;
    cluster.chain.go_by_the_time_of_day();
    let client = told_of_two_and_the_groups_key(&cluster);
    let fate = fate_of_one_that_is_lost(&client).await;
    assert!(matches!(fate, Err(ClientError::Expired { .. })), "{fate:?}");
}

#[tokio::test]
async fn a_full_spread_is_freed_though_one_without_a_block_answers_first() {
    let (cluster, _) = with_a_slow_one_and_one_without_a_block().await;
    cluster.chain.go_by_the_time_of_day();
    sign_and_be_lost(&cluster, Nonce(2), UNDER_WAY_MAX, Duration::ZERO);
    let client = told_of_two_and_the_groups_key(&cluster);
    let submitting = client.submit(Operations::new());
    let submitted = tokio::time::timeout(Duration::from_secs(10), submitting).await;
    drop(
        submitted
            .expect("the slow one tells what is spent")
            .unwrap(),
    );
}

/// What the first one says at once is worth nothing: to the question what is spent, to a barrier, or to both. The others
/// take longer than those are waited for who have yet to answer when another has.
#[tokio::test]
async fn a_fate_is_found_out_though_one_says_at_once_what_is_worth_nothing() {
    for manner in [Truncates, IsBusy, Rejects] {
        let cluster = Cluster::honest().await;
        cluster.chain.keep_accounts();
        let client = expiring(&cluster, LONG).await;
        client.put(SPACE, "alice", "1").await.unwrap();
        cluster.gateways[0].becomes(manner);
        for slow in &cluster.gateways[1..] {
            slow.takes_its_time(Duration::from_millis(crate::limits::NUDGE_MS + 200));
        }
        cluster.chain.go_by_the_time_of_day();
        let fate = fate_of_one_that_is_lost(&client).await;
        let proved = matches!(fate, Err(ClientError::Expired { .. }));
        assert!(proved, "{manner:?}: {fate:?}");
    }
}

#[tokio::test]
async fn a_fate_is_found_out_though_one_shows_at_once_an_older_state_than_was_seen() {
    let cluster = Cluster::honest().await;
    cluster.chain.keep_accounts();
    let client = expiring(&cluster, LONG).await;
    client.put(SPACE, "alice", "1").await.unwrap();
    cluster.chain.go_by_the_time_of_day();
    let expires = TimeMs(crate::client::now_ms().0 - 1);
    client.put(SPACE, "alice", "2").await.unwrap();
    // The state after the second block shows the fate; the first one shows the state before it, and is fast.
    cluster.gateways[0].becomes(CutOff);
    for slow in &cluster.gateways[1..] {
        slow.takes_its_time(Duration::from_millis(crate::limits::NUDGE_MS + 200));
    }
    let lost = violeta_types::TxId(violeta_types::Digest([7; 32]));
    let fate = client.fate(lost, Nonce(99), expires);
    let fate = tokio::time::timeout(Duration::from_secs(20), fate).await;
    let fate = fate.expect("the others are waited for");
    assert!(matches!(fate, Err(ClientError::Expired { .. })), "{fate:?}");
}

#[tokio::test]
async fn an_outcome_is_found_out_though_a_liar_and_one_who_lags_answer_first() {
    let cluster = Cluster::honest().await;
    cluster.chain.keep_accounts();
    let client = expiring(&cluster, LONG).await;
    client.put(SPACE, "alice", "1").await.unwrap();
    let receipt = client.put(SPACE, "alice", "2").await.unwrap();
    // Both prove the state before it, in which its nonce is unspent.
    cluster.gateways[0].becomes(CutOff);
    cluster.gateways[1].becomes(CutOff);
    for slow in &cluster.gateways[2..] {
        slow.takes_its_time(Duration::from_millis(200));
    }
    let expires = TimeMs(crate::client::now_ms().0 - 1);
    let id = receipt.outcome.transaction;
    let fate = client.fate(id, Nonce(2), expires).await.unwrap();
    assert_eq!(fate.outcome, receipt.outcome);
}

#[tokio::test]
async fn who_has_signed_too_many_and_waits_for_none_of_them_is_told_so_at_once() {
    let cluster = Cluster::honest().await;
    let client = cluster.client().await;
    client.put(SPACE, "alice", "1").await.unwrap();
    let mut under_way = Vec::new();
    for _ in 0..UNDER_WAY_MAX {
        under_way.push(client.submit(Operations::new()).await.unwrap());
    }
    let error = client.submit(Operations::new()).await.err().unwrap();
    let told = matches!(
        error,
        ClientError::Nonces(NonceError::TooManyUnresolved {
            inherited: false,
            ..
        })
    );
    assert!(told, "{error}");
}

#[tokio::test]
async fn a_client_without_a_key_reads_and_doesn_t_sign() {
    let cluster = Cluster::honest().await;
    let writer = cluster.client().await;
    writer.put(SPACE, "alice", "1").await.unwrap();
    let mut config = cluster.config();
    (config.key, config.state_path) = (None, None);
    let reader = Client::new(config).unwrap();
    assert_eq!(
        reader
            .get(SPACE, "alice", At::Certified)
            .await
            .unwrap()
            .unwrap(),
        "1"
    );
    let error = reader.put(SPACE, "alice", "2").await.unwrap_err();
    assert!(matches!(error, ClientError::Config(_)), "{error}");
}

#[tokio::test]
async fn everybody_s_status_is_told_and_who_is_down_is_named() {
    let mut cluster = Cluster::honest().await;
    let client = cluster.client().await;
    cluster.kill(2);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let statuses = client.status().await;
    assert_eq!(statuses.len(), 4);
    for (at, (_, status)) in statuses.iter().enumerate() {
        assert_eq!(status.is_ok(), at != 2, "{at}: {status:?}");
    }
}

#[tokio::test]
async fn who_hangs_when_asked_how_it_is_holds_nobody_up() {
    let cluster = Cluster::honest().await;
    // The system takes connections for it; nobody reads from them.
    let hanging = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = cluster.config();
    let url = format!("http://{}", hanging.local_addr().unwrap());
    config.endpoints[1].url = url.parse().unwrap();
    let client = cluster.client_with(config).await;
    let begun = Instant::now();
    let statuses = client.status_within(Duration::from_secs(1)).await;
    assert!(begun.elapsed() < Duration::from_millis(crate::limits::READ_MS_MAX));
    for (at, (_, status)) in statuses.iter().enumerate() {
        assert_eq!(status.is_ok(), at != 1, "{at}: {status:?}");
    }
}

#[tokio::test]
async fn that_a_namespace_is_missing_is_proved_and_the_chains_own_are_there() {
    let cluster = Cluster::honest().await;
    let client = cluster.client().await;
    client.put(SPACE, "alice", "1").await.unwrap();
    // This chain has one space, and no records of namespaces: that there is none of them is proved.
    let at = At::Height(Height(1));
    assert!(!client.has_namespace("nowhere", at).await.unwrap());
    assert!(client.has_namespace("_accounts", at).await.unwrap());
    let error = client
        .has_namespace("nowhere", At::Height(Height(9)))
        .await
        .unwrap_err();
    assert!(!matches!(error, ClientError::Invalid(_)), "{error}");
}

#[test]
fn a_client_needs_endpoints_and_a_place_for_its_nonces() {
    let trust = violeta_proof::Trust::in_committee(
        crate::testing::chain_id(),
        crate::testing::committee(4),
    );
    let none = crate::ClientConfig::reader([], trust.clone()).unwrap();
    assert!(matches!(Client::new(none), Err(ClientError::Config(_))));
    let many = vec!["http://127.0.0.1:1"; crate::limits::ENDPOINTS_MAX + 1];
    let many = crate::ClientConfig::reader(many, trust.clone()).unwrap();
    assert!(matches!(Client::new(many), Err(ClientError::Config(_))));
    assert!(crate::ClientConfig::reader(["no url"], trust.clone()).is_err());
    let mut keyed = crate::ClientConfig::reader(["http://127.0.0.1:1"], trust).unwrap();
    keyed.key = Some(crate::keys::generate().unwrap());
    assert!(matches!(Client::new(keyed), Err(ClientError::Config(_))));
}
