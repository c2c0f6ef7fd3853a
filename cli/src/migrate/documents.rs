//! Documents on their way: which ones, in which order, and which of the destination's may change.

use std::collections::BTreeMap;

use bytes::Bytes;
use msglog::store::{DocumentKey, Expected, MessageStore};
use msglog::{Msn, TopicName};
use serde::Deserialize;

use super::plan::{Chosen, Plan};
use crate::failure::Failure;

const TOPICS: &str = "topics/";
const COMMITS: &str = "commits/";
const PRODUCERS: &str = "producers/";

/// The topic that a document is about: `topics/<topic>`, `commits/<consumer>/<topic>`,
/// `producers/<topic>` or `producers/<topic>/<partition>`. How far a topic is compacted is not
/// copied: it is found out again.
pub(crate) fn topic_of(key: &str) -> Option<&str> {
    if let Some(topic) = key.strip_prefix(TOPICS) {
        return Some(topic);
    }
    if let Some(topic) = key.strip_prefix(PRODUCERS) {
        return Some(topic.split_once('/').map_or(topic, |(topic, _partition)| topic));
    }
    key.strip_prefix(COMMITS)?.split_once('/').map(|(_consumer, topic)| topic)
}

/// Whether a document is the configuration of this topic.
pub(crate) fn is_topic(key: &str, topic: &TopicName) -> bool {
    key.strip_prefix(TOPICS) == Some(topic.as_str())
}

/// The chosen documents of a store: configurations last, because they say that a topic is whole.
pub(crate) async fn load(
    store: &dyn MessageStore,
    chosen: &Chosen,
) -> Result<Vec<(DocumentKey, Bytes)>, Failure> {
    let mut documents = Vec::new();
    for key in store.documents("").await? {
        if !chosen.has_document(&key) {
            continue;
        }
        if let Some(document) = store.load(&key).await? {
            documents.push((key, document.value));
        }
    }
    documents.sort_by_key(|(key, _)| key.as_str().starts_with(TOPICS));
    Ok(documents)
}

/// Refuses documents that the destination does not take.
pub(crate) fn check_sizes(
    documents: &[(DocumentKey, Bytes)],
    bytes_max: usize,
) -> Result<(), Failure> {
    let Some((key, value)) = documents.iter().find(|(_, value)| value.len() > bytes_max) else {
        return Ok(());
    };
    let why = format!("document `{key}` has {} bytes", value.len());
    Err(Failure::Input(format!("{why}; the destination takes at most {bytes_max}")))
}

/// Refuses a destination whose documents are not the source's, or not earlier commits of it.
pub(crate) async fn check(plan: &Plan, destination: &dyn MessageStore) -> Result<(), Failure> {
    for (key, there) in load(destination, &plan.chosen).await? {
        let ours = plan.documents.iter().find(|(ours, _)| *ours == key).map(|(_, value)| value);
        let agrees = ours.is_some_and(|ours| *ours == there || is_earlier(&key, &there, ours));
        if !agrees {
            let what = if ours.is_some() { "another" } else { "a" };
            let hint = if ours.is_some() { "" } else { ", which the source has not" };
            let why = format!("the destination has {what} document `{key}`{hint}");
            return Err(Failure::Conflict(why));
        }
    }
    Ok(())
}

/// Writes what is not there as it should be; answers how many.
pub(crate) async fn save(
    documents: &[(DocumentKey, Bytes)],
    destination: &dyn MessageStore,
) -> Result<usize, Failure> {
    let mut saved = 0;
    for (key, value) in documents {
        let there = destination.load(key).await?;
        if there.as_ref().is_some_and(|there| there.value == *value) {
            continue;
        }
        let expected = Expected::from(there.map(|there| there.version));
        destination.save(key, value.clone(), expected).await?;
        saved += 1;
    }
    Ok(saved)
}

/// Refuses a destination that does not hold these documents as they are.
pub(crate) async fn verify(
    documents: &[(DocumentKey, Bytes)],
    destination: &dyn MessageStore,
) -> Result<(), Failure> {
    for (key, value) in documents {
        let there = destination.load(key).await?;
        if there.is_none_or(|there| there.value != *value) {
            let why = format!("document `{key}` differs between the two sides");
            return Err(Failure::Conflict(why));
        }
    }
    Ok(())
}

/// The part of a commit document that is looked at.
#[derive(Deserialize)]
struct Commits {
    partitions: BTreeMap<u32, Msn>,
}

/// Whether commits are those of the source from before: nowhere further than now.
fn is_earlier(key: &DocumentKey, there: &[u8], ours: &[u8]) -> bool {
    if !key.as_str().starts_with(COMMITS) {
        return false;
    }
    let read = |bytes| serde_json::from_slice::<Commits>(bytes).ok();
    let (Some(there), Some(ours)) = (read(there), read(ours)) else { return false };
    let reached = |(partition, msn): (&u32, &Msn)| {
        ours.partitions.get(partition).is_some_and(|now| msn <= now)
    };
    there.partitions.iter().all(reached)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commits_that_are_nowhere_further_are_earlier() {
        let commits = DocumentKey::parse("commits/c/t").unwrap();
        let now = br#"{"partitions":{"0":5,"1":7}}"#;
        for (there, earlier) in [
            (r#"{"partitions":{"0":5}}"#, true),
            (r#"{"partitions":{"0":4,"1":7}}"#, true),
            (r#"{"partitions":{"0":6}}"#, false),
            (r#"{"partitions":{"2":0}}"#, false),
            ("else", false),
        ] {
            assert_eq!(is_earlier(&commits, there.as_bytes(), now), earlier, "{there}");
        }
        let topic = DocumentKey::parse("topics/t").unwrap();
        assert!(!is_earlier(&topic, br#"{"partitions":{}}"#, now));
    }

    #[test]
    fn document_at_the_limit_goes_and_a_byte_more_is_refused() {
        let documents = [(DocumentKey::parse("topics/t").unwrap(), Bytes::from_static(b"12345"))];
        assert!(check_sizes(&documents, 5).is_ok());
        let refused = check_sizes(&documents, 4).unwrap_err();
        assert!(refused.to_string().contains("`topics/t` has 5 bytes"), "{refused}");
    }

    #[test]
    fn documents_belong_to_their_topic() {
        assert_eq!(topic_of("topics/t"), Some("t"));
        assert_eq!(topic_of("commits/c/t"), Some("t"));
        assert_eq!(topic_of("producers/t"), Some("t"));
        assert_eq!(topic_of("producers/t/7"), Some("t"));
        assert_eq!(topic_of("compaction/t/7"), None);
        assert_eq!(topic_of("leases/t"), None);
    }
}
