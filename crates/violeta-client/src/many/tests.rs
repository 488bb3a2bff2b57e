//! Listings, changes and many keys, in front of gateways that leave out, change, and answer other questions.

use std::collections::BTreeMap;

use super::*;
use crate::testing::Manner::{self, *};
use crate::testing::{Cluster, SPACE, keys_of_one_node};
use violeta_proof::ProofError;
use violeta_proof::tree::PartialTreeError;

/// A cluster of a chain that writes six keys, one a block, and then the first of them again, whose first gateway turns to
/// `manner` then; a client; the keys.
async fn with_first(manner: Manner) -> (Cluster, Client, Vec<String>) {
    let cluster = Cluster::honest().await;
    let client = cluster.client().await;
    let keys = keys_of_one_node(6);
    for key in keys.iter().chain(&keys[..1]) {
        client.put(SPACE, key, "1").await.unwrap();
    }
    cluster.gateways[0].becomes(manner);
    (cluster, client, keys)
}

/// What the first gateway's answer was refused for.
fn refused(client: &Client, manner: Manner) -> Part {
    let mut incidents = client.incidents();
    assert_eq!(incidents.len(), 1, "{manner:?}: {incidents:?}");
    let incident = incidents.remove(0);
    assert!(incident.validator.starts_with("v0 "), "{manner:?}");
    incident.part
}

fn is_many(part: &Part) -> bool {
    matches!(part, Part::Proof(ProofError::Many(_)))
}

#[tokio::test]
async fn a_namespace_is_listed_whole_part_by_part_at_one_height() {
    let (_cluster, client, keys) = with_first(Honest).await;
    let (mut found, mut after, mut at) = (BTreeMap::new(), None::<Vec<u8>>, At::Certified);
    loop {
        let part = client.entries(SPACE, after.as_deref(), 4, at).await;
        let part = part.unwrap().part;
        assert_eq!(part.count, Some(6));
        let height = part.vouched.head.head().height;
        assert_eq!(height, Height(7));
        at = At::Height(height);
        for entry in part.entries {
            let key = String::from_utf8(entry.key.to_vec()).unwrap();
            found.insert(key, entry.value.written_at.0);
        }
        match part.next {
            Some(key) => after = Some(key.to_vec()),
            None => break,
        }
        // What is written meanwhile isn't seen.
        client.put(SPACE, &keys[1], "2").await.unwrap();
    }
    let expected = keys.iter().cloned().zip([7, 2, 3, 4, 5, 6]);
    assert_eq!(found, expected.collect());
    assert_eq!(client.incidents(), []);
}

#[tokio::test]
async fn a_listing_that_lies_is_refused_and_the_next_validator_tells_all() {
    type Expected = fn(&Part) -> bool;
    let table: [(Manner, Expected); 4] = [
        (LeavesOut, is_many),
        (ForgesValue, is_many),
        (ProvesAnotherKey, |p| {
            matches!(
                p,
                Part::OtherQuestion {
                    what: "part after",
                    ..
                }
            )
        }),
        (ServesOldHeads, |p| {
            matches!(p, Part::OtherQuestion { what: "height", .. })
        }),
    ];
    for (manner, expected) in table {
        let (_cluster, client, keys) = with_first(manner).await;
        let at = At::Height(Height(7));
        let listed = client.entries(SPACE, None, 100, at).await.unwrap();
        assert_eq!(listed.part.entries.len(), keys.len(), "{manner:?}");
        assert!(listed.validator.starts_with("v1 "), "{manner:?}");
        let part = refused(&client, manner);
        assert!(expected(&part), "{manner:?}: {part:?}");
    }
}

#[tokio::test]
async fn an_old_listing_is_no_lie_and_no_answer_either() {
    let (_cluster, client, keys) = with_first(ServesOldHeads).await;
    let listed = client.entries(SPACE, None, 100, At::Certified).await;
    let part = listed.unwrap().part;
    let entries = part.entries.iter();
    let again = entries.filter(|entry| entry.value.written_at == Height(7));
    assert_eq!(again.count(), 1, "{} was written again", keys[0]);
    assert_eq!(client.incidents(), []);
}

#[tokio::test]
async fn what_changed_is_proved_and_lies_about_it_are_refused() {
    type Expected = fn(&Part) -> bool;
    let table: [(Manner, Expected); 5] = [
        (Honest, |_| false),
        (LeavesOut, is_many),
        (ForgesValue, |p| {
            let claim = PartialTreeError::ClaimedOtherwise { claim: 0 };
            *p == Part::Proof(ProofError::Many(claim))
        }),
        (ProvesAnotherKey, |p| {
            matches!(
                p,
                Part::OtherQuestion {
                    what: "part after",
                    ..
                }
            )
        }),
        (ServesOldHeads, |p| {
            matches!(p, Part::OtherQuestion { what: "height", .. })
        }),
    ];
    for (manner, expected) in table {
        let (_cluster, client, keys) = with_first(manner).await;
        let heights = (Height(4), At::Height(Height(7)));
        let changes = client.changes(SPACE, heights, None, 100).await.unwrap();
        let found = changes.part.changes.into_iter().map(|change| {
            let written_at = |value: Option<StoredValue>| value.map(|value| value.written_at.0);
            let (old, new) = (change.values.old, change.values.new);
            (change.key.to_vec(), (written_at(old), written_at(new)))
        });
        let expected_changes = [
            (0, (Some(1), Some(7))),
            (4, (None, Some(5))),
            (5, (None, Some(6))),
        ];
        let expected_changes =
            expected_changes.map(|(i, written)| (keys[i].clone().into_bytes(), written));
        assert_eq!(
            found.collect::<BTreeMap<_, _>>(),
            BTreeMap::from(expected_changes),
            "{manner:?}"
        );
        match manner {
            Honest => assert_eq!(client.incidents(), []),
            _ => {
                let part = refused(&client, manner);
                assert!(expected(&part), "{manner:?}: {part:?}");
            }
        }
    }
}

#[tokio::test]
async fn many_keys_are_read_in_parts_of_one_height_and_lies_about_them_refused() {
    type Expected = fn(&Part) -> bool;
    let table: [(Manner, Expected); 5] = [
        (Honest, |_| false),
        (LeavesOut, |p| {
            matches!(
                p,
                Part::OtherQuestion {
                    what: "number of keys",
                    ..
                }
            )
        }),
        (ForgesValue, is_many),
        (DeniesKeys, is_many),
        (ProvesAnotherKey, |p| {
            matches!(p, Part::OtherQuestion { what: "key", .. })
        }),
    ];
    for (manner, expected) in table {
        let (_cluster, client, keys) = with_first(manner).await;
        let asked = [&keys[3], "nobody", &keys[0], &keys[3], &keys[5]];
        let read = client.get_many(SPACE, asked, At::Certified).await.unwrap();
        let written = read.values.iter();
        let written = written.map(|value| value.as_ref().map(|value| value.written_at.0));
        let expected_heights = [Some(4), None, Some(7), Some(4), Some(6)];
        assert_eq!(written.collect::<Vec<_>>(), expected_heights, "{manner:?}");
        assert_eq!((read.proofs.len(), read.head.head().height), (3, Height(7)));
        match manner {
            Honest => assert_eq!(client.incidents(), []),
            _ => {
                let part = refused(&client, manner);
                assert!(expected(&part), "{manner:?}: {part:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_not_even_asked() {
    let (_cluster, client, _) = with_first(Honest).await;
    let invalid = |error: ClientError| assert!(matches!(error, ClientError::Invalid(_)), "{error}");
    invalid(
        client
            .entries(SPACE, None, 0, At::Certified)
            .await
            .unwrap_err(),
    );
    invalid(
        client
            .entries([7; 65], None, 1, At::Certified)
            .await
            .unwrap_err(),
    );
    let long = [7; 1_025];
    invalid(
        client
            .entries(SPACE, Some(&long), 1, At::Certified)
            .await
            .unwrap_err(),
    );
    let none: [&str; 0] = [];
    invalid(
        client
            .get_many(SPACE, none, At::Certified)
            .await
            .unwrap_err(),
    );
    let heights = (Height(3), At::Height(Height(3)));
    invalid(client.changes(SPACE, heights, None, 1).await.unwrap_err());
}
