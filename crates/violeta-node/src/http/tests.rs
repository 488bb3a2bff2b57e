//! The gateway as its clients meet it: over sockets, in front of a chain in memory.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use violeta_proof::{
    ChangesProof, EntriesProof, HeadProof, KeyProof, OutcomeProof, ValuesProof, Vouch,
};
use violeta_types::api::*;
use violeta_types::{Genesis, Height, Nonce, Operation, TxId};

use super::GatewayConfig;
use super::forge::ForgedValue;
use super::limits::{HEAD_BYTES_MAX, UNSENT_BYTES_MAX};
use super::routes::{self, ROUTES, path_parameters};
use super::testing::{FULL, Fixture, PAGE_OUTCOMES_MAX, client_key};

#[tokio::test]
async fn a_write_is_certified_and_read_back() {
    let f = Fixture::new().await;
    let answer = f.put(1, b"alice", b"1000").await;
    let TransactionStatus::Certified { outcome } = &answer.status else {
        panic!("{answer:?}");
    };
    assert_eq!((outcome.height, outcome.refused), (Height(1), None));
    let key: KeyAnswer = f.json("/v1/namespaces/bank/keys/alice").await;
    assert_eq!(key.height, Height(1));
    assert_eq!(key.value.unwrap().value, Readable(b"1000".to_vec()));
    let nobody: KeyAnswer = f.json("/v1/namespaces/bank/keys/nobody").await;
    assert_eq!(nobody.value, None);
}

#[tokio::test]
async fn a_submission_that_waits_for_nothing_or_in_vain_is_accepted() {
    let f = Fixture::new().await;
    f.chain
        .stalls
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let bytes = f.chain.put(1, b"k", b"v").to_bytes();
    for path in [
        "/v1/transactions",
        "/v1/transactions?wait=certified&timeout_ms=20",
    ] {
        let response = f.post(path, bytes.clone()).await;
        assert_eq!(response.status(), 202);
        let answer: TransactionAnswer = response.json().await.unwrap();
        assert_eq!(answer.status, TransactionStatus::Queued);
    }
}

#[tokio::test]
async fn the_same_bytes_again_after_execution_are_no_error() {
    let f = Fixture::new().await;
    let first = f.put(1, b"k", b"v").await;
    let bytes = f.chain.put(1, b"k", b"v").to_bytes();
    let again = f
        .post("/v1/transactions?wait=certified", bytes.clone())
        .await;
    assert_eq!(again.status(), 200);
    assert_eq!(again.json::<TransactionAnswer>().await.unwrap(), first);
    let batch = encode_batch(&[bytes]).unwrap();
    let verdicts: Vec<BatchVerdict> = f.post("/v1/batch", batch).await.json().await.unwrap();
    assert_eq!(verdicts, [BatchVerdict::Taken(first.transaction)]);
    // Other bytes under the same nonce are another matter.
    let other = f.chain.put(1, b"k", b"w").to_bytes();
    let (status, error) = Fixture::error(f.post("/v1/transactions", other).await).await;
    assert_eq!((status, error.code), (409, ErrorCode::NotAdmitted));
}

#[tokio::test]
async fn what_is_no_transaction_is_refused_and_what_is_too_much_told_when_to_come_back() {
    let f = Fixture::new().await;
    let (status, error) = Fixture::error(f.post("/v1/transactions", "garbage").await).await;
    assert_eq!((status, error.code), (400, ErrorCode::InvalidTransaction));
    let response = f.post("/v1/transactions", FULL).await;
    assert_eq!(
        response.headers()["retry-after"],
        "2",
        "1500 ms, in whole seconds"
    );
    let (status, error) = Fixture::error(response).await;
    assert_eq!((status, error.retry_ms), (503, Some(1_500)));
}

#[tokio::test]
async fn a_batch_is_judged_item_by_item_in_json_and_in_borsh() {
    let f = Fixture::new().await;
    let good = f.chain.put(1, b"k", b"v");
    let batch = encode_batch(&[good.to_bytes(), FULL.into(), vec![1, 2].into()]).unwrap();
    let request = f.http.post(f.url("/v1/batch")).body(batch.clone());
    let response = request.header("accept", BINARY).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], BINARY);
    let verdicts: Vec<BatchVerdict> =
        violeta_types::decode(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(verdicts[0], BatchVerdict::Taken(good.id()));
    let codes: Vec<_> = verdicts[1..]
        .iter()
        .map(|verdict| match verdict {
            BatchVerdict::Refused(detail) => detail.code,
            BatchVerdict::Taken(_) => panic!("{verdict:?}"),
        })
        .collect();
    assert_eq!(
        codes,
        [ErrorCode::Overloaded, ErrorCode::InvalidTransaction]
    );
    let json: Vec<BatchVerdict> = f.post("/v1/batch", batch).await.json().await.unwrap();
    assert_eq!(json, verdicts);
    let empty = f.post("/v1/batch", encode_batch(&[]).unwrap()).await;
    assert_eq!(empty.text().await.unwrap(), "[]");
}

#[tokio::test]
async fn bodies_over_their_bounds_are_refused_with_and_without_a_length() {
    let f = Fixture::new().await;
    let large = vec![0u8; violeta_types::limits::TRANSACTION_BYTES_MAX + 1];
    let (status, _) = Fixture::error(f.post("/v1/transactions", large.clone()).await).await;
    assert_eq!(status, 413);
    let chunks = large
        .chunks(1 << 16)
        .map(|c| Ok::<_, std::io::Error>(c.to_vec()));
    let chunks: Vec<_> = chunks.collect();
    let body = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    let (status, _) = Fixture::error(f.post("/v1/transactions", body).await).await;
    assert_eq!(status, 413);
    let batch = vec![0u8; BATCH_BYTES_MAX + 1];
    let (status, _) = Fixture::error(f.post("/v1/batch", batch).await).await;
    assert_eq!(status, 413);
}

#[tokio::test]
async fn proofs_come_as_json_and_as_borsh() {
    let f = Fixture::new().await;
    let id = f.put(1, b"alice", b"1000").await.transaction;
    let key = "/v1/namespaces/bank/keys/hex:616c696365?proof=true";
    let json: KeyProof = f.json(key).await;
    assert_eq!(&json.value.as_ref().unwrap().value[..], b"1000");
    let request = f.http.get(f.url(key)).header("accept", BINARY);
    let bytes = request.send().await.unwrap().bytes().await.unwrap();
    assert_eq!(KeyProof::decode(&bytes).unwrap(), json);
    let outcome: OutcomeProof = f.json(&format!("/v1/transactions/{id}?proof=true")).await;
    assert_eq!(outcome.outcome.transaction, id);
    let unknown = TxId::default();
    let response = f
        .get(&format!("/v1/transactions/{unknown}?proof=true"))
        .await;
    assert_eq!(Fixture::error(response).await.0, 404);
    let status: TransactionAnswer = f.json(&format!("/v1/transactions/{unknown}")).await;
    assert_eq!(status.status, TransactionStatus::Unknown);
}

#[tokio::test]
async fn who_asks_for_seals_gets_them_or_is_told_how_far_they_are() {
    let f = Fixture::new().await;
    let ids = [f.put(1, b"k", b"v").await, f.put(2, b"k", b"w").await].map(|put| put.transaction);
    let key = "/v1/namespaces/bank/keys/k?proof=true&vouch=seal";
    let refused = async |path: &str| {
        let (status, error) = Fixture::error(f.get(path).await).await;
        (status, error.code)
    };
    let not_yet = (409, ErrorCode::NotYetCertified);
    assert_eq!(refused(key).await, not_yet, "nothing is sealed");
    f.chain.sealed.store(1, std::sync::atomic::Ordering::SeqCst);
    let proof: KeyProof = f.json(key).await;
    assert_eq!(proof.head.height, Height(1), "the newest sealed height");
    assert!(matches!(proof.vouch, Vouch::Seal(_)));
    let at = |height: u64| format!("{key}&at={height}");
    assert_eq!(f.json::<KeyProof>(&at(1)).await, proof);
    assert_eq!(refused(&at(2)).await, not_yet);
    assert_eq!(refused(&at(0)).await, (404, ErrorCode::NotFound));
    let linearizable = format!("{key}&consistency=linearizable");
    assert_eq!(
        refused(&linearizable).await,
        (400, ErrorCode::InvalidRequest)
    );
    let outcome = |id: TxId| format!("/v1/transactions/{id}?proof=true&vouch=seal");
    let proof: OutcomeProof = f.json(&outcome(ids[0])).await;
    assert!(matches!(proof.vouch, Vouch::Seal(_)));
    assert_eq!(refused(&outcome(ids[1])).await, not_yet);
    for path in ["/v1/head", "/v1/heads/1"] {
        let proof: HeadProof = f.json(&format!("{path}?proof=true&vouch=seal")).await;
        assert_eq!(proof.head.height, Height(1));
        assert!(matches!(proof.vouch, Vouch::Seal(_)));
    }
    assert_eq!(refused("/v1/heads/2?proof=true&vouch=seal").await, not_yet);
    let newest: HeadProof = f.json("/v1/head?proof=true").await;
    assert_eq!(newest.head.height, Height(2));
    assert_eq!(refused(&format!("{key}s")).await.0, 400, "no such word");
}

#[tokio::test]
async fn every_version_is_certified_and_named_exactly() {
    let f = Fixture::new().await;
    let path = "/v1/namespaces/bank/keys/k";
    let (status, error) = Fixture::error(f.get(path).await).await;
    assert_eq!(
        (status, error.code),
        (409, ErrorCode::NotYetCertified),
        "empty chain"
    );
    f.put(1, b"k", b"v").await;
    let fixed: KeyAnswer = f.json(&format!("{path}?at=1")).await;
    let newest: KeyAnswer = f.json(&format!("{path}?at=latest-certified")).await;
    assert_eq!(fixed, newest);
    for (query, expected) in [
        ("at=2", ErrorCode::NotYetCertified),
        ("at=0", ErrorCode::NotFound),
        ("at=-1", ErrorCode::InvalidRequest),
        ("at=latest", ErrorCode::InvalidRequest),
        ("at=1&consistency=linearizable", ErrorCode::InvalidRequest),
        ("consistency=eventual", ErrorCode::InvalidRequest),
        ("prove=true", ErrorCode::InvalidRequest),
    ] {
        let response = f.get(&format!("{path}?{query}")).await;
        assert_eq!(Fixture::error(response).await.1.code, expected, "{query}");
    }
}

#[tokio::test]
async fn a_linearizable_read_without_a_key_says_what_the_client_can_do() {
    let f = Fixture::new().await;
    f.put(1, b"k", b"v").await;
    let response = f
        .get("/v1/namespaces/bank/keys/k?consistency=linearizable")
        .await;
    let (status, error) = Fixture::error(response).await;
    assert_eq!((status, error.code), (400, ErrorCode::NeedsClient));
    assert!(error.help.contains("http.barrier_key"), "{}", error.help);
}

#[tokio::test]
async fn uploads_that_are_announced_and_do_not_come_keep_nobody_out() {
    let f = Fixture::new().await;
    let head =
        format!("POST /v1/batch HTTP/1.1\r\nhost: x\r\ncontent-length: {BATCH_BYTES_MAX}\r\n\r\n0");
    let mut slow = Vec::new();
    for _ in 0..40 {
        let mut socket = TcpStream::connect(f.gateway.address()).await.unwrap();
        socket.write_all(head.as_bytes()).await.unwrap();
        slow.push(socket);
    }
    f.put(1, b"k", b"v").await;
}

#[tokio::test]
async fn a_batch_that_was_executed_before_is_taken_again_and_looked_up_at_once() {
    let f = Fixture::new().await;
    let items: Vec<_> = (1..=40)
        .map(|i| f.chain.put(i, b"k", b"v").to_bytes())
        .collect();
    let batch = encode_batch(&items).unwrap();
    for lookups in [0, 1] {
        let verdicts: Vec<BatchVerdict> = f
            .post("/v1/batch", batch.clone())
            .await
            .json()
            .await
            .unwrap();
        assert_eq!(verdicts.len(), 40);
        assert!(verdicts.iter().all(|v| matches!(v, BatchVerdict::Taken(_))));
        assert_eq!(f.chain.lookups(), lookups);
    }
}

#[tokio::test]
async fn who_cannot_look_up_what_was_executed_does_not_say_that_it_was_not_taken() {
    let f = Fixture::new().await;
    f.chain.indexes.store(false, SeqCst);
    f.put(2, b"k", b"v").await;
    let spent = f.chain.put(1, b"k", b"v").to_bytes();
    let response = f.post("/v1/transactions", spent).await;
    let (status, error) = Fixture::error(response).await;
    assert_eq!((status, error.code), (501, ErrorCode::NotIndexed));
    assert!(error.message.starts_with("the nonce was used; or"));
}

#[tokio::test]
async fn linearizable_reads_share_barriers() {
    let config = GatewayConfig {
        barrier_key: Some(client_key()),
        ..GatewayConfig::default()
    };
    let f = Fixture::with(config).await;
    let path = "/v1/namespaces/bank/keys/k?consistency=linearizable";
    let first: KeyAnswer = f.json(path).await;
    assert_eq!(first.height, Height(1), "the barrier's own block");
    let reads = (0..50).map(|_| f.json::<KeyAnswer>(path));
    let answers = futures::future::join_all(reads).await;
    assert!(answers.iter().all(|a| a.height > first.height));
    // Each read needs a barrier that began after it arrived; at the most one a read, and they come in crowds.
    let barriers = f.chain.submissions();
    assert!((2..=51).contains(&barriers), "{barriers}");
    let account: AccountAnswer = f
        .json(&format!(
            "/v1/accounts/{}",
            client_key().public_key().client_id()
        ))
        .await;
    assert_eq!(
        account.highest_nonce,
        Nonce(barriers as u64),
        "no nonce twice"
    );
}

#[tokio::test]
async fn keys_are_percent_encoded_or_hex() {
    let f = Fixture::new().await;
    let key = b"a/b %\xc3\xbc?#";
    f.put(1, key, b"v").await;
    let encoded = "a%2Fb%20%25%C3%BC%3F%23";
    let hex = format!("hex:{}", hex::encode(key));
    for name in [encoded, &hex] {
        let answer: KeyAnswer = f.json(&format!("/v1/namespaces/bank/keys/{name}")).await;
        assert!(answer.value.is_some(), "{name}");
        assert_eq!(answer.key.0, key);
    }
    for bad in ["hex:0", "%ff", &"k".repeat(1_025)] {
        let response = f.get(&format!("/v1/namespaces/bank/keys/{bad}")).await;
        assert_eq!(response.status(), 400, "{bad}");
    }
}

#[tokio::test]
async fn pages_go_on_where_the_last_one_ended() {
    let f = Fixture::new().await;
    for i in 1..=5u8 {
        f.put(u64::from(i), &[b'a' + i], b"v").await;
    }
    let mut seen = Vec::new();
    let mut path = "/v1/namespaces/bank/keys?limit=2".to_owned();
    loop {
        let page: KeysAnswer = f.json(&path).await;
        seen.extend(page.keys);
        let Some(next) = page.next else { break };
        path = format!("/v1/namespaces/bank/keys?limit=2&after={next}");
    }
    assert_eq!(seen.len(), 5);
    let mut heights = Vec::new();
    let mut from = 1;
    loop {
        let page: BlocksAnswer = f.json(&format!("/v1/blocks?from={from}&limit=2")).await;
        heights.extend(page.blocks.iter().map(|block| block.height.0));
        let Some(next) = page.next else { break };
        from = next.0;
    }
    assert_eq!(heights, [1, 2, 3, 4, 5]);
    let newest: BlocksAnswer = f.json("/v1/blocks?limit=2").await;
    assert_eq!(newest.blocks[1].height, Height(5));
    let beyond: BlocksAnswer = f.json("/v1/blocks?from=99").await;
    assert_eq!((beyond.blocks.len(), beyond.next), (0, None));
    for bad in ["limit=0", "limit=1001", "limit=x", "from=x"] {
        assert_eq!(
            f.get(&format!("/v1/blocks?{bad}")).await.status(),
            400,
            "{bad}"
        );
    }
}

#[tokio::test]
async fn a_page_of_blocks_that_ends_early_says_where_to_go_on() {
    let f = Fixture::new().await;
    f.chain.grow(2 * PAGE_OUTCOMES_MAX as u64 + 1);
    let (mut from, mut pages) = (Some(Height(1)), Vec::new());
    while let Some(first) = from {
        let page: BlocksAnswer = f.json(&format!("/v1/blocks?from={first}&limit=1000")).await;
        assert_eq!(page.blocks[0].height, first);
        pages.push(page.blocks.len());
        from = page.next;
    }
    assert_eq!(pages, [PAGE_OUTCOMES_MAX, PAGE_OUTCOMES_MAX, 1]);
}

#[tokio::test]
async fn the_chain_tells_of_itself() {
    let f = Fixture::new().await;
    assert_eq!(f.get("/v1/head").await.status(), 409);
    f.put(1, b"k", b"v").await;
    let head: HeadAnswer = f.json("/v1/head").await;
    assert_eq!(head.id, head.head.id());
    assert_eq!(f.json::<HeadAnswer>("/v1/heads/1").await, head);
    assert_eq!(f.get("/v1/heads/2").await.status(), 404);
    assert_eq!(f.get("/v1/heads/x").await.status(), 400);
    let block: BlockAnswer = f.json("/v1/blocks/1").await;
    assert_eq!(
        (block.transactions, block.next, block.certified),
        (1, None, true)
    );
    assert_eq!(f.get("/v1/blocks/1?from=2").await.status(), 404);
    let genesis: Genesis = f.json("/v1/genesis").await;
    assert_eq!(genesis.chain_id(), head.head.chain);
    let committee: CommitteeAnswer = f.json("/v1/committee").await;
    assert_eq!(committee.digest, head.head.committee);
    let namespace: NamespaceAnswer = f.json("/v1/namespaces/bank").await;
    assert_eq!(namespace.keys, Some(1));
    assert_eq!(f.get("/v1/namespaces/nowhere").await.status(), 404);
    let history: HistoryAnswer = f.json("/v1/namespaces/bank/keys/k/history").await;
    assert_eq!(history.versions.len(), 1);
    let status = f.get("/v1/status").await;
    assert_eq!(status.headers()[VALIDATOR_HEADER], "2");
    assert_eq!(
        status.json::<StatusAnswer>().await.unwrap().height,
        Height(1)
    );
}

#[tokio::test]
async fn health_is_503_with_reasons_when_it_is_bad() {
    let f = Fixture::new().await;
    assert!(f.json::<HealthAnswer>("/v1/health").await.healthy);
    f.chain
        .stalls
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let response = f.get("/v1/health").await;
    assert_eq!(response.status(), 503);
    let health: HealthAnswer = response.json().await.unwrap();
    assert_eq!(health.reasons, ["it stalls"]);
}

/// One event as it stands in a stream; none if it is a comment.
fn event_in(block: &str) -> Option<(String, ChainEvent)> {
    let field = |name: &str| {
        let mut lines = block.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    let event: ChainEvent = serde_json::from_str(field("data")?).unwrap();
    assert_eq!(field("event")?, event.kind.name());
    Some((field("id")?.to_owned(), event))
}

/// Reads events until there are `count`.
async fn take_events(response: reqwest::Response, count: usize) -> Vec<(String, ChainEvent)> {
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut stream = response.bytes_stream();
    let (mut text, mut events) = (String::new(), Vec::new());
    while events.len() < count {
        let chunk = tokio::time::timeout(Duration::from_secs(5), stream.next()).await;
        match chunk.expect("events come") {
            Some(chunk) => text += std::str::from_utf8(&chunk.unwrap()).unwrap(),
            None => break,
        }
        if let Some((complete, rest)) = text.rsplit_once("\n\n") {
            events.extend(complete.split("\n\n").filter_map(event_in));
            text = rest.to_owned();
        }
    }
    events
}

#[tokio::test]
async fn events_resume_exactly_after_the_last_one_seen() {
    let f = Fixture::new().await;
    for nonce in 1..=3 {
        f.put(nonce, b"k", b"v").await;
    }
    let all = take_events(f.get("/v1/events?cursor=0.0").await, 6).await;
    assert_eq!(all.len(), 6);
    for (at, (id, _)) in all.iter().enumerate().take(5) {
        let rest = take_events(f.get(&format!("/v1/events?cursor={id}")).await, 5 - at).await;
        assert_eq!(rest, all[at + 1..]);
        let request = f.http.get(f.url("/v1/events")).header("Last-Event-ID", id);
        let rest = take_events(request.send().await.unwrap(), 5 - at).await;
        assert_eq!(rest, all[at + 1..]);
    }
    assert_eq!(f.get("/v1/events?cursor=x").await.status(), 400);
}

#[tokio::test]
async fn events_come_as_they_happen() {
    let f = Fixture::new().await;
    let response = f.get("/v1/events").await;
    f.put(1, b"k", b"v").await;
    let events = take_events(response, 2).await;
    let kinds: Vec<_> = events.iter().map(|(_, event)| event.kind.name()).collect();
    assert_eq!(kinds, ["block", "certified"]);
}

#[tokio::test]
async fn a_transactions_events_are_two_and_then_the_end() {
    let f = Fixture::new().await;
    let transaction = f.chain.put(1, b"k", b"v");
    let path = format!("/v1/events?transaction={}", transaction.id());
    let early = f.get(&path).await;
    f.put(1, b"k", b"v").await;
    let events = take_events(early, usize::MAX).await;
    assert_eq!(events.len(), 2);
    let again = take_events(f.get(&path).await, usize::MAX).await;
    assert_eq!(again, events);
    let rest = f.get(&format!("{path}&cursor={}", events[0].0)).await;
    assert_eq!(take_events(rest, usize::MAX).await, events[1..]);
}

#[tokio::test]
async fn streams_are_counted_and_one_address_gets_its_share() {
    let config = GatewayConfig {
        streams_max: 4,
        ..GatewayConfig::default()
    };
    let f = Fixture::with(config).await;
    let first = f.get("/v1/events").await;
    let _second = f.get("/v1/events").await;
    let (status, error) = Fixture::error(f.get("/v1/events").await).await;
    assert_eq!((status, error.code), (429, ErrorCode::TooManyRequests));
    drop(first);
    let closed = async {
        while f.get("/v1/events").await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), closed)
        .await
        .expect("a closed stream makes room");
}

/// Reads on where nobody read for long: how many bytes had come, and whether the connection was cut behind them.
async fn left_behind(mut silent: TcpStream) -> (usize, bool) {
    let (mut came, mut piece) = (0, vec![0; 1 << 16]);
    let end = loop {
        let read = silent.read(&mut piece);
        match tokio::time::timeout(Duration::from_secs(5), read).await {
            Ok(Ok(0)) | Err(_) => break false,
            Ok(Ok(bytes)) => came += bytes,
            Ok(Err(_)) => break true,
        }
    };
    (came, end)
}

fn cuts_soon() -> GatewayConfig {
    GatewayConfig {
        write_stall: Duration::from_millis(500),
        requests_max: 4,
        streams_max: 4,
        ..GatewayConfig::default()
    }
}

#[tokio::test]
async fn a_subscriber_that_never_reads_is_fetched_little_and_cut_and_others_get_all() {
    let f = Fixture::with(cuts_soon()).await;
    let blocks = 3_000;
    f.chain.grow(blocks);
    let begun = std::time::Instant::now();
    let silent = f
        .silent("GET /v1/events?cursor=0.0 HTTP/1.1\r\nhost: x\r\n\r\n")
        .await;
    let mut told = 0;
    while told == 0 || told != f.chain.told() {
        told = f.chain.told();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // An event takes more than 150 bytes. The kernel has its share, and one buffer of the connection.
    let bytes_min = 150 * told;
    let bound = UNSENT_BYTES_MAX as usize + HEAD_BYTES_MAX;
    assert!(bytes_min < 2 * bound, "{told} events for nobody");
    assert!(150 * 2 * blocks as usize > 4 * bound, "there are more");

    let all = take_events(f.get("/v1/events?cursor=0.0").await, 2 * blocks as usize);
    assert_eq!(all.await.len(), 2 * blocks as usize);
    // One address may have two streams: when it gets them, the silent one has gone.
    let first = f.get("/v1/events").await;
    assert_eq!(first.status(), 200);
    while f.get("/v1/events").await.status() != 200 {
        assert!(begun.elapsed() < Duration::from_secs(10), "never cut");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (came, cut) = left_behind(silent).await;
    assert!(cut && came < 2 * bound, "{came} {cut}");
}

#[tokio::test]
async fn answers_that_are_never_read_are_made_one_at_a_time_and_cut_and_others_get_theirs() {
    let f = Fixture::with(cuts_soon()).await;
    let value = vec![b'v'; violeta_types::limits::VALUE_BYTES_MAX];
    f.put(1, b"large", &value).await;
    let asked = 50;
    let request = "GET /v1/namespaces/bank/keys/large HTTP/1.1\r\nhost: x\r\n\r\n";
    let silent = f.silent(&request.repeat(asked)).await;
    let begun = std::time::Instant::now();
    while f.chain.reads() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "not asked");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // One address may have two requests under way: the silent one's, and, one after the other, these.
    for _ in 0..20 {
        let other: KeyAnswer = f.json("/v1/namespaces/bank/keys/large").await;
        assert_eq!(other.value.unwrap().value.0, value);
    }
    assert_eq!(f.chain.reads(), 21, "no answer is made before its turn");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let (came, cut) = left_behind(silent).await;
    assert!(cut && came < value.len(), "{came} {cut}");
    assert_eq!(f.chain.reads(), 21);
}

#[tokio::test]
async fn a_full_gateway_says_so_and_still_tells_its_health() {
    let config = GatewayConfig {
        requests_max: 1,
        ..GatewayConfig::default()
    };
    let f = Fixture::with(config).await;
    f.chain
        .stalls
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let bytes = f.chain.put(1, b"k", b"v").to_bytes();
    let waiting = f.post("/v1/transactions?wait=certified&timeout_ms=3000", bytes);
    let others = async {
        while f.chain.submissions() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (status, error) = Fixture::error(f.get("/v1/status").await).await;
        assert_eq!(status, 503);
        assert!(error.retry_ms.is_some());
        assert_eq!(
            f.get("/v1/health").await.status(),
            503,
            "of the chain, not of the bound"
        );
        assert_eq!(f.get("/metrics").await.status(), 200);
    };
    tokio::select! {
        _ = waiting => panic!("it waits"),
        () = others => {}
    }
}

#[tokio::test]
async fn what_is_unknown_is_json_too() {
    let f = Fixture::new().await;
    let (status, error) = Fixture::error(f.get("/v2/nothing").await).await;
    assert_eq!((status, error.code), (404, ErrorCode::NoSuchRoute));
    let response = f.post("/v1/head", "").await;
    assert_eq!(response.headers()["allow"], "GET");
    assert_eq!(
        Fixture::error(response).await.1.code,
        ErrorCode::MethodNotAllowed
    );
    let response = f.get("/v1/transactions").await;
    assert_eq!(response.headers()["allow"], "POST");
    assert_eq!(response.status(), 405);
    let request = f.http.post(f.url("/v1/transactions")).body("{}");
    let response = request
        .header("content-type", "application/json")
        .send()
        .await
        .unwrap();
    assert_eq!(
        Fixture::error(response).await.1.code,
        ErrorCode::UnsupportedMediaType
    );
    let long = "?timeout_ms=60001";
    assert_eq!(
        f.post(&format!("/v1/transactions{long}"), "")
            .await
            .status(),
        400
    );
}

#[tokio::test]
async fn no_other_origin_may_use_a_browser_against_it() {
    let f = Fixture::new().await;
    let request = f
        .http
        .get(f.url("/v1/status"))
        .header("origin", "https://evil.example");
    let response = request.send().await.unwrap();
    assert!(
        response
            .headers()
            .get("access-control-allow-origin")
            .is_none()
    );
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
}

/// Sends raw bytes and reads what comes back until the connection closes, or for a while.
async fn raw(f: &Fixture, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(f.gateway.address()).await.unwrap();
    // The other end may close before it has read all.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_millis(500), reading).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn garbage_and_huge_heads_hurt_nobody() {
    let f = Fixture::new().await;
    for bytes in [
        b"\0\xff\xfe garbage\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"POST /v1/transactions HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n".to_vec(),
        [b"GET / HTTP/1.1\r\nx: ".to_vec(), vec![b'a'; 1 << 20]].concat(),
        [b"GET /".to_vec(), vec![b'a'; 1 << 20]].concat(),
    ] {
        let answer = raw(&f, &bytes).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
    }
    let half = raw(
        &f,
        b"POST /v1/batch HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc",
    )
    .await;
    assert_eq!(half, "", "it waits for the rest, and not for ever");
    assert_eq!(f.get("/v1/status").await.status(), 200);
}

#[tokio::test]
async fn the_openapi_document_has_every_route_and_every_schema_that_it_names() {
    let f = Fixture::new().await;
    let document: serde_json::Value = f.json("/openapi.json").await;
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), ROUTES.len());
    let mut ids = Vec::new();
    for route in ROUTES {
        let operation = &paths[route.path][route.method.to_ascii_lowercase()];
        ids.push(operation["operationId"].as_str().unwrap().to_owned());
        let parameters = operation["parameters"].as_array().map_or(0, Vec::len);
        assert_eq!(
            parameters,
            path_parameters(route.path).count() + route.query.len()
        );
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), ROUTES.len(), "operation ids are distinct");
    let text = document.to_string();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for reference in text.split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(
            schemas.contains_key(name),
            "{name} is named and isn't there"
        );
    }
    assert_eq!(routes::openapi().paths.paths.len(), ROUTES.len());
}

#[tokio::test]
async fn every_route_answers() {
    let f = Fixture::new().await;
    let id = f.put(1, b"k", b"v").await.transaction;
    f.put(2, b"k", b"v").await;
    for route in ROUTES.iter().filter(|route| route.method == "GET") {
        let path = route
            .path
            .replace("{height}", "1")
            .replace("{id}", &id.to_string())
            .replace("{namespace}", "bank")
            .replace("{key}", "k")
            .replace(
                "{client}",
                &client_key().public_key().client_id().to_string(),
            );
        // Between two heights there is no default.
        let path = match path.ends_with("/changes") {
            true => path + "?from=1",
            false => path,
        };
        assert_eq!(f.get(&path).await.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn proofs_of_many_keys_come_as_json_and_as_borsh_and_say_where_they_begin() {
    let f = Fixture::new().await;
    for (nonce, key) in (1..).zip([b"a", b"b", b"c"]) {
        f.put(nonce, key, b"v").await;
    }
    let path = "/v1/namespaces/bank/entries?after=a&limit=1";
    let json: EntriesProof = f.json(path).await;
    assert_eq!(
        (json.values.len(), json.after.as_deref()),
        (1, Some(&b"a"[..]))
    );
    assert_eq!(json.head.head.height, Height(3));
    assert_eq!(EntriesProof::decode(&f.binary(path).await).unwrap(), json);
    let path = "/v1/namespaces/bank/changes?from=1&to=2";
    let json: ChangesProof = f.json(path).await;
    let heights = (json.heads.old.head.height, json.heads.new.head.height);
    assert_eq!(heights, (Height(1), Height(2)));
    assert_eq!(ChangesProof::decode(&f.binary(path).await).unwrap(), json);
    let path = "/v1/namespaces/bank/values?at=2";
    let keys: Vec<Vec<u8>> = vec![b"c".to_vec(), b"b".to_vec()];
    let answer = f.post(path, violeta_types::encode(&keys)).await;
    assert_eq!(answer.status(), 200);
    let proof: ValuesProof = answer.json().await.unwrap();
    let has = proof.claims.iter().map(|claim| claim.value.is_some());
    assert_eq!(proof.head.head.height, Height(2));
    assert_eq!(has.collect::<Vec<_>>().len(), 2);
    let sealed = f.get("/v1/namespaces/bank/entries?vouch=seal").await;
    assert_eq!(
        Fixture::error(sealed).await.1.code,
        ErrorCode::NotYetCertified
    );
}

#[tokio::test]
async fn questions_about_many_keys_that_make_no_sense_are_refused_with_what_does() {
    let f = Fixture::new().await;
    f.put(1, b"a", b"v").await;
    f.put(2, b"b", b"v").await;
    use ErrorCode::*;
    for (query, code) in [
        ("entries?limit=0", InvalidRequest),
        ("entries?limit=1001", InvalidRequest),
        ("entries?at=9", NotYetCertified),
        ("entries?proof=true", InvalidRequest),
        ("changes", InvalidRequest),
        ("changes?from=x", InvalidRequest),
        ("changes?from=0", NotFound),
        ("changes?from=2", InvalidRequest),
        ("changes?from=2&to=1", InvalidRequest),
        ("changes?from=1&to=9", NotYetCertified),
    ] {
        let answer = f.get(&format!("/v1/namespaces/bank/{query}")).await;
        assert_eq!(Fixture::error(answer).await.1.code, code, "{query}");
    }
    let ask = |body: Vec<u8>| f.post("/v1/namespaces/bank/values", body);
    let code = async |answer| Fixture::error(answer).await.1.code;
    let none: Vec<Vec<u8>> = vec![];
    assert_eq!(
        code(ask(violeta_types::encode(&none)).await).await,
        InvalidRequest
    );
    let many = vec![b"k".to_vec(); 1_001];
    assert_eq!(
        code(ask(violeta_types::encode(&many)).await).await,
        InvalidRequest
    );
    let long = vec![vec![0; 1_025]];
    assert_eq!(
        code(ask(violeta_types::encode(&long)).await).await,
        InvalidRequest
    );
    assert_eq!(code(ask(vec![0; 2 << 20]).await).await, TooLarge);
}

#[tokio::test]
async fn pages_load_nothing_and_run_nothing() {
    let f = Fixture::new().await;
    f.put(1, b"k", b"v").await;
    for path in ["/", "/docs"] {
        let page = f.get(path).await.text().await.unwrap();
        for forbidden in ["<script", "src=", "//cdn", "@import", "test <chain>"] {
            assert!(!page.contains(forbidden), "{path}: {forbidden}");
        }
    }
    let index = f.get("/").await.text().await.unwrap();
    assert!(index.contains("test &lt;chain&gt;") && index.contains("validator 2 of 4"));
    assert!(index.contains("not connected"), "validator 3");
}

#[tokio::test]
async fn metrics_count_requests_by_route_and_not_by_what_was_asked() {
    let f = Fixture::new().await;
    for i in 0..3 {
        f.get(&format!("/nothing/{i}")).await;
        f.get(&format!("/v1/heads/{}", 100 + i)).await;
    }
    let text = f.get("/metrics").await.text().await.unwrap();
    assert!(text.contains("violeta_height 1"), "{text}");
    let heads = r#"violeta_http_requests_total{route="/v1/heads/{height}",status="404"} 3"#;
    assert!(text.contains(heads), "{text}");
    assert!(text.contains(r#"{route="none",status="404"} 3"#), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn a_forge_lies_about_its_key_and_keeps_the_rest() {
    let config = GatewayConfig {
        forge: Some(std::sync::Arc::new(ForgedValue {
            namespace: b"bank".to_vec(),
            key: b"alice".to_vec(),
            value: b"9999"[..].into(),
        })),
        ..GatewayConfig::default()
    };
    let f = Fixture::with(config).await;
    f.put(1, b"alice", b"1000").await;
    f.put(2, b"bob", b"1000").await;
    let proof: KeyProof = f.json("/v1/namespaces/bank/keys/alice?proof=true").await;
    assert_eq!(&proof.value.unwrap().value[..], b"9999");
    let answer: KeyAnswer = f.json("/v1/namespaces/bank/keys/alice").await;
    assert_eq!(answer.value.unwrap().value, Readable(b"9999".to_vec()));
    let bob: KeyAnswer = f.json("/v1/namespaces/bank/keys/bob").await;
    assert_eq!(bob.value.unwrap().value, Readable(b"1000".to_vec()));
}

#[tokio::test]
async fn a_gateway_that_stops_lets_requests_end_and_cuts_streams() {
    let f = Fixture::new().await;
    let stream = f.get("/v1/events").await;
    let begun = std::time::Instant::now();
    let address = f.gateway.address();
    f.gateway.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
    let rest: Vec<_> = stream.bytes_stream().collect().await;
    assert!(
        rest.iter()
            .all(|chunk| chunk.is_err() || chunk.as_ref().unwrap().is_empty())
    );
}

#[tokio::test]
async fn an_empty_list_of_operations_is_a_transaction_like_any_other() {
    let f = Fixture::new().await;
    let barrier = f.chain.transaction(1, Vec::<Operation>::new());
    let response = f
        .post("/v1/transactions?wait=certified", barrier.to_bytes())
        .await;
    assert_eq!(response.status(), 200);
}
