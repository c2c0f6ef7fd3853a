//! Constraints over the memory store: which messages each rule lets in, versions, rates.

#![allow(clippy::unwrap_used, reason = "helpers of tests end a test by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use msglog_core::log::{ByteRange, HeaderValue, Rate, Rule};
use msglog_core::store::{Access, ReadLimit};
use msglog_core::{
    AppendOptions, Clock, ErrorKind, Log, Message, MsgLog, Msn, Timestamp, Topic, TopicConfig,
};
use msglog_memory::{MemoryPlace, MemoryStore};
use proptest::prelude::*;
use serde_json::json;

async fn topic_with(rules: impl IntoIterator<Item = Rule>) -> (Log, Topic) {
    topic_by(SteppedClock::default(), rules).await
}

async fn topic_by(clock: SteppedClock, rules: impl IntoIterator<Item = Rule>) -> (Log, Topic) {
    let builder = Log::builder().clock(clock);
    let log = builder.open(Arc::new(MemoryStore::new())).await.unwrap();
    let config = rules.into_iter().fold(TopicConfig::default(), TopicConfig::with_rule);
    log.create_topic(&"orders".parse().unwrap(), config).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    (log, topic)
}

/// A clock that a test moves while a log has it.
#[derive(Clone, Debug, Default)]
struct SteppedClock(Arc<AtomicI64>);

impl Clock for SteppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

fn typed(value: &str) -> Message {
    Message::new("x").with_header("content-type", value.to_owned())
}

/// A rule, what it lets in, and what it does not.
type Row = (Rule, Vec<Message>, Vec<Message>);

fn rows() -> Vec<Row> {
    let plain = || Message::new("12345");
    let keyed = |key: &'static str| plain().with_key(key);
    let traced = |value: &'static str| plain().with_header("trace", value);
    let null = || {
        let mut message = plain();
        message.headers.push(msglog_core::Header { name: "trace".to_owned(), value: None });
        message
    };
    let header = |value| Rule::Header { name: "trace".to_owned(), value };
    let types = || Rule::ContentType(vec!["application/json".to_owned(), "Text/Plain".to_owned()]);
    vec![
        (
            Rule::PayloadBytes(ByteRange { min: 5, max: Some(6) }),
            vec![plain(), Message::new("123456"), Message::tombstone("k")],
            vec![Message::new("1234"), Message::new("1234567"), Message::new("")],
        ),
        (Rule::PayloadRequired, vec![Message::new("")], vec![Message::tombstone("k")]),
        (Rule::KeyRequired, vec![keyed(""), Message::tombstone("k")], vec![plain()]),
        (
            Rule::KeyBytes(ByteRange::at_most(3)),
            vec![keyed("abc"), keyed(""), plain()],
            vec![keyed("abcd")],
        ),
        (Rule::KeyBytes(ByteRange::at_least(1)), vec![keyed("a"), plain()], vec![keyed("")]),
        (Rule::header("trace"), vec![traced(""), null()], vec![plain(), typed("trace")]),
        (
            Rule::header_one_of("trace", ["a", "b"]),
            vec![traced("a"), traced("b"), traced("a").with_header("trace", "b")],
            vec![plain(), null(), traced("ab"), traced("a").with_header("trace", "c")],
        ),
        (
            header(HeaderValue::Prefix("v1/".to_owned())),
            vec![traced("v1/"), traced("v1/x")],
            vec![plain(), traced("v1"), traced("V1/x")],
        ),
        (
            types(),
            vec![
                typed("application/json"),
                typed("TEXT/plain; charset=utf-8"),
                typed(" text/plain ;"),
            ],
            vec![plain(), typed("text/html"), typed("application/jsonx"), typed("")],
        ),
        (
            Rule::Json,
            vec![Message::new(" {\"a\": [1]} "), Message::new("null"), Message::tombstone("k")],
            vec![
                Message::new(""),
                Message::new("{\"a\": 1"),
                Message::new("{} {}"),
                Message::new("{a:1}"),
            ],
        ),
    ]
}

#[tokio::test]
async fn each_rule_lets_in_what_keeps_it_and_names_itself_to_the_rest() {
    for (rule, good, bad) in rows() {
        let (_log, topic) = topic_with([rule.clone()]).await;
        for message in &bad {
            let error = topic.append(message.clone()).await.unwrap_err();
            let named = format!("topic `orders`: rule `{}`: ", rule.name());
            assert_eq!(error.kind(), ErrorKind::Invalid, "{rule:?} {message:?}");
            assert!(error.context().starts_with(&named), "{}", error.context());
        }
        for (msn, message) in (0..).zip(&good) {
            let appended = topic.append(message.clone()).await;
            let msn = Msn::new(msn);
            assert_eq!(appended.unwrap().ack().await.unwrap(), msn, "{rule:?} {message:?}");
        }
        // In one batch: all or nothing, and the message is named.
        let batch: Vec<_> = good.iter().chain(bad.first()).cloned().collect();
        let first = AppendOptions::default().with_partition(0);
        let error = topic.append_batch_with(&batch, first).await.unwrap_err();
        assert!(error.context().contains(&format!("message {} of the batch", good.len())));
        assert_eq!(topic.bounds(0).await.unwrap().next_msn, Msn::new(good.len() as u64));
    }
}

#[tokio::test]
async fn rules_that_cannot_be_are_invalid() {
    let rows = [
        vec![Rule::PayloadBytes(ByteRange { min: 2, max: Some(1) })],
        vec![Rule::KeyBytes(ByteRange { min: 1, max: Some(0) })],
        vec![Rule::header("")],
        vec![Rule::header_one_of("a", Vec::<String>::new())],
        vec![Rule::ContentType(Vec::new())],
        vec![Rule::Rate(Rate::messages(0))],
        vec![Rule::Rate(Rate::bytes(u64::MAX))],
        vec![Rule::Rate(Rate::bytes(1).with_burst_seconds(0))],
        vec![Rule::Rate(Rate::bytes(1).with_burst_seconds(3601))],
        vec![Rule::Rate(Rate { messages_per_second: None, ..Rate::messages(1) })],
        vec![Rule::Rate(Rate::messages(1)), Rule::Rate(Rate::bytes(1))],
        vec![Rule::KeyRequired; 101],
    ];
    let log = Log::builder().open(Arc::new(MemoryStore::new())).await.unwrap();
    for rules in rows {
        let config = rules.iter().cloned().fold(TopicConfig::default(), TopicConfig::with_rule);
        let error = log.create_topic(&"orders".parse().unwrap(), config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{rules:?}");
    }
    assert!(log.topics().await.unwrap().is_empty());
}

#[test]
fn configuration_without_rules_is_stored_as_before_and_rules_come_back() {
    let plain = serde_json::to_value(TopicConfig::default()).unwrap();
    assert_eq!(plain.get("constraints"), None);
    let old = r#"{"partitions":2,"durability":"os","compression":"lz4","timestamps":"append"}"#;
    let config: TopicConfig = serde_json::from_str(old).unwrap();
    assert!(config.constraints.rules.is_empty());

    let rules = json!([
        {"payload-bytes": {"min": 1, "max": 100}}, "payload-required", "key-required",
        {"key-bytes": {"min": 0}}, {"header": {"name": "trace", "value": "any"}},
        {"header": {"name": "trace", "value": {"one-of": ["a"]}}},
        {"header": {"name": "trace", "value": {"prefix": "a"}}},
        {"content-type": ["text/plain"]}, "json", {"json-schema": {"type": "object"}},
        {"rate": {"messages_per_second": 5, "burst_seconds": 1}},
    ]);
    let stored = json!({"partitions": 1, "constraints": {"version": 7, "rules": rules}});
    let config: TopicConfig = serde_json::from_value(stored).unwrap();
    assert_eq!(config.constraints.rules.len(), 11);
    let again = serde_json::to_value(&config).unwrap();
    assert_eq!(again["constraints"], json!({"version": 7, "rules": rules}));
    for unknown in [json!({"rate": {"burts_seconds": 1}}), json!("keyrequired")] {
        let stored = json!({"constraints": {"rules": [unknown]}});
        assert!(serde_json::from_value::<TopicConfig>(stored).is_err());
    }
}

#[tokio::test]
async fn only_a_change_of_the_rules_raises_their_version() {
    let (log, topic) = topic_with([]).await;
    let version = || topic.config().constraints.version;
    assert_eq!(version(), 0);
    log.configure("orders", |config| config.partitions = 2).await.unwrap();
    assert_eq!(version(), 0);
    log.configure("orders", |config| config.constraints.rules.push(Rule::Json)).await.unwrap();
    assert_eq!(version(), 1);
    log.configure("orders", |config| {
        config.constraints.version = 99;
        config.partitions = 3;
    })
    .await
    .unwrap();
    assert_eq!(version(), 1);
    log.configure("orders", |config| config.constraints.rules.clear()).await.unwrap();
    assert_eq!(version(), 2);
    let (_log, topic) = topic_with([Rule::Json]).await;
    assert_eq!(topic.config().constraints.version, 1);
}

#[tokio::test]
async fn log_opened_for_reading_reads_whatever_the_rules_are() {
    let place = MemoryPlace::new();
    let log = Log::builder().open(Arc::new(place.open(Access::Write).unwrap())).await.unwrap();
    let config = TopicConfig::default().with_rule(Rule::KeyRequired);
    log.create_topic(&"orders".parse().unwrap(), config).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    topic.append(Message::new("x").with_key("k")).await.unwrap().ack().await.unwrap();
    let builder = Log::builder().access(Access::Read);
    let reader = builder.open(Arc::new(place.open(Access::Read).unwrap())).await.unwrap();
    let topic = reader.topic("orders").await.unwrap();
    assert_eq!(topic.read(0, Msn::ZERO, ReadLimit::default()).await.unwrap().records.len(), 1);
    assert_eq!(topic.append("x").await.unwrap_err().kind(), ErrorKind::ReadOnly);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rate_is_exact_under_concurrent_producers() {
    let clock = SteppedClock::default();
    let rule = Rule::Rate(Rate::messages(1000).with_burst_seconds(2));
    let (log, topic) = topic_by(clock.clone(), [rule]).await;
    log.configure("orders", |config| config.partitions = 3).await.unwrap();
    let expected = [(0, 2000), (10, 10), (1, 1), (0, 0), (60_000, 2000)];
    let mut sum = 0;
    for (millis, accepted) in expected {
        clock.0.fetch_add(millis, Ordering::SeqCst);
        let count = Arc::new(AtomicU64::new(0));
        let producers = (0..8).map(|producer| {
            let (topic, count) = (topic.clone(), count.clone());
            tokio::spawn(async move {
                for number in 0..600 {
                    let appended = match (producer + number) % 7 {
                        0 => topic.append_batch(["a", "b", "c"]).await,
                        _ => topic.append("a").await,
                    };
                    match appended {
                        Ok(appended) => {
                            let msns = appended.msns();
                            let records = msns.end.distance_from(msns.start);
                            count.fetch_add(records, Ordering::SeqCst);
                            appended.ack().await.unwrap();
                        }
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::Refused);
                            assert!(error.is_transient() && error.context().contains("`rate`"));
                        }
                    }
                }
            })
        });
        futures::future::try_join_all(producers).await.unwrap();
        assert_eq!(count.load(Ordering::SeqCst), accepted, "after {millis} ms more");
        sum += accepted;
    }
    let mut found = 0;
    for partition in 0..3 {
        found += topic.bounds(partition).await.unwrap().next_msn.get();
    }
    assert_eq!(found, sum, "what was refused used an MSN");
}

#[tokio::test]
async fn append_that_fails_takes_nothing_of_the_rate() {
    let (log, topic) = topic_with([Rule::Rate(Rate::messages(2)), Rule::KeyRequired]).await;
    let keyed = || Message::new("x").with_key("k");
    for _ in 0..5 {
        assert_eq!(topic.append("no key").await.unwrap_err().kind(), ErrorKind::Invalid);
        let nowhere = AppendOptions::default().with_partition(9);
        assert!(topic.append_with(keyed(), nowhere).await.is_err());
        let large = Message::new(vec![0; 9 << 20]).with_key("k");
        assert_eq!(topic.append(large).await.unwrap_err().kind(), ErrorKind::TooLarge);
    }
    let never = topic.append_batch([keyed(), keyed(), keyed()]).await.unwrap_err();
    assert_eq!((never.kind(), never.is_transient()), (ErrorKind::Invalid, false));
    topic.append(keyed()).await.unwrap().ack().await.unwrap();
    // A change of other rules does not fill it again; another rate does.
    log.configure("orders", |config| config.constraints.rules.truncate(1)).await.unwrap();
    topic.append("x").await.unwrap().ack().await.unwrap();
    let refused = topic.append("x").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    let context = "topic `orders`: rule `rate`: 2 messages a second are used up; \
                   there is room in 500 ms";
    assert_eq!(refused.context(), context);
    log.configure("orders", |config| {
        config.constraints.rules = vec![Rule::Rate(Rate::messages(1))];
    })
    .await
    .unwrap();
    topic.append("x").await.unwrap().ack().await.unwrap();
}

#[cfg(not(feature = "json-schema"))]
#[tokio::test]
async fn schema_without_the_feature_is_unsupported_and_stops_only_appends() {
    use msglog_core::store::{DocumentKey, Expected, MessageStore};

    let log = Log::builder().open(Arc::new(MemoryStore::new())).await.unwrap();
    let config = TopicConfig::default().with_rule(Rule::JsonSchema(json!({})));
    let error = log.create_topic(&"orders".parse().unwrap(), config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.context().contains("feature `json-schema`"));
    // Another build has stored one: everything but appending goes on.
    let store = Arc::new(MemoryStore::new());
    let stored = r#"{"constraints": {"version": 1, "rules": [{"json-schema": {}}]}}"#;
    let key = DocumentKey::parse("topics/orders").unwrap();
    store.save(&key, stored.into(), Expected::Absent).await.unwrap();
    let log = Log::builder().open(store).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    assert_eq!(topic.append("x").await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert!(topic.read(0, Msn::ZERO, ReadLimit::default()).await.unwrap().records.is_empty());
    log.configure("orders", |config| config.constraints.rules.clear()).await.unwrap();
    topic.append("x").await.unwrap().ack().await.unwrap();
}

#[cfg(feature = "json-schema")]
#[tokio::test]
async fn schema_lets_in_what_it_accepts_and_names_the_place() {
    let schema = json!({
        "type": "object",
        "required": ["price"],
        "properties": {"price": {"type": "integer", "minimum": 1}, "note": {"$ref": "#/$defs/text"}},
        "$defs": {"text": {"type": "string"}},
    });
    let (_log, topic) = topic_with([Rule::JsonSchema(schema)]).await;
    for good in [r#"{"price": 1}"#, r#"{"price": 2, "note": "", "more": null}"#] {
        topic.append(good).await.unwrap().ack().await.unwrap();
    }
    topic.append(Message::tombstone("k")).await.unwrap().ack().await.unwrap();
    let rows = [
        ("nonsense", "payload is no JSON"),
        ("[]", "payload: "),
        (r#"{"note": "a"}"#, "payload: "),
        (r#"{"price": 0}"#, "/price: "),
        (r#"{"price": 1, "note": 4711}"#, "/note: "),
    ];
    for (bad, place) in rows {
        let error = topic.append(bad).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let start = format!("topic `orders`: rule `json-schema`: {place}");
        assert!(error.context().starts_with(&start), "{}", error.context());
        assert!(!error.context().contains("4711"), "the payload is in the error");
    }
    assert_eq!(topic.bounds(0).await.unwrap().next_msn, Msn::new(3));
}

#[cfg(feature = "json-schema")]
#[tokio::test]
async fn schema_that_is_none_or_refers_elsewhere_is_invalid() {
    let log = Log::builder().open(Arc::new(MemoryStore::new())).await.unwrap();
    let elsewhere = json!({"$ref": "http://127.0.0.1:9/schema.json"});
    for schema in [json!({"type": "nothing"}), json!({"minimum": "a"}), elsewhere] {
        let config = TopicConfig::default().with_rule(Rule::JsonSchema(schema.clone()));
        let error = log.create_topic(&"orders".parse().unwrap(), config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{schema}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// What is let in is exactly what a plain reading of the rules says.
    #[test]
    fn sizes_let_in_exactly_what_lies_within(
        min in 0_u64..6,
        more in 0_u64..6,
        sizes in prop::collection::vec(0_usize..14, 1..20),
    ) {
        let range = ByteRange { min, max: Some(min + more) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (_log, topic) = topic_with([Rule::PayloadBytes(range)]).await;
            for size in sizes {
                let within = (min..=min + more).contains(&(size as u64));
                let appended = topic.append(vec![7; size]).await;
                prop_assert_eq!(appended.is_ok(), within, "{} bytes", size);
            }
            Ok(())
        })?;
    }
}
