//! The names of a topic's producers, with id and epoch: one document.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::store::{DocumentKey, Expected, MessageStore};
use crate::{Error, ErrorKind, Result, Timestamp, TopicName};

/// The most producers of a topic.
pub(super) const PRODUCERS_MAX: usize = 1_000;
/// How often a registration is tried again when another one came between.
const TRIES_MAX: usize = 100;

/// The document.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Registry {
    /// An id is given once.
    next_id: i64,
    names: BTreeMap<String, Named>,
}

/// One producer.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Named {
    pub(super) id: i64,
    pub(super) epoch: i16,
    /// When it was opened last.
    opened: Timestamp,
}

/// What a registration has done.
pub(super) struct Registered {
    pub(super) named: Named,
    /// The ids that have expired.
    pub(super) expired: Vec<i64>,
}

/// The document of a topic.
pub(in crate::log) fn key(topic: &TopicName) -> Result<DocumentKey> {
    DocumentKey::parse(format!("producers/{topic}"))
}

/// Registers a name with the next epoch; durable when it returns. `last_seen` answers when a
/// producer was last alive, and those that were before `oldest` expire.
pub(super) async fn register(
    store: &Arc<dyn MessageStore>,
    (topic, name): (&TopicName, &str),
    (now, oldest): (Timestamp, Timestamp),
    last_seen: impl Fn(i64) -> Option<Timestamp> + Send,
) -> Result<Registered> {
    let key = key(topic)?;
    for _ in 0..TRIES_MAX {
        let (mut registry, expected) = load(store, &key).await?;
        let is_dead = |other: &String, named: &Named| {
            let seen = last_seen(named.id).map_or(named.opened, |seen| seen.max(named.opened));
            other != name && seen < oldest
        };
        let dead = registry.names.iter().filter(|(other, named)| is_dead(other, named));
        let expired: Vec<_> = dead.map(|(_, named)| named.id).collect();
        registry.names.retain(|_, named| !expired.contains(&named.id));
        let named = registry.raise(name, now)?;
        let json = serde_json::to_vec(&registry).map_err(|cause| {
            Error::new(ErrorKind::Invalid, "producers cannot be written").with_source(cause)
        })?;
        match store.save(&key, json.into(), expected).await {
            Ok(_) => return Ok(Registered { named, expired }),
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            Err(error) => return Err(error.within(format_args!("producer `{name}`"))),
        }
    }
    let why = format!("producer `{name}` met others {TRIES_MAX} times");
    Err(Error::new(ErrorKind::Unavailable, why))
}

async fn load(store: &Arc<dyn MessageStore>, key: &DocumentKey) -> Result<(Registry, Expected)> {
    let Some(document) = store.load(key).await? else {
        return Ok((Registry::default(), Expected::Absent));
    };
    let registry = serde_json::from_slice(&document.value).map_err(|cause| {
        Error::new(ErrorKind::Corrupt, format!("`{key}` cannot be read")).with_source(cause)
    })?;
    Ok((registry, Expected::Version(document.version)))
}

impl Registry {
    /// The next epoch of a name.
    fn raise(&mut self, name: &str, now: Timestamp) -> Result<Named> {
        let count = self.names.len();
        let named = match self.names.get(name) {
            None if count >= PRODUCERS_MAX => {
                let why = format!("the topic has {count} producers, and none has expired");
                return Err(Error::new(ErrorKind::TooLarge, why));
            }
            None => {
                self.next_id += 1;
                Named { id: self.next_id - 1, epoch: 0, opened: now }
            }
            Some(named) => {
                let epoch = named.epoch.checked_add(1).ok_or_else(|| {
                    let why = format!("producer `{name}` has been opened too often: choose a name");
                    Error::new(ErrorKind::TooLarge, why)
                })?;
                Named { epoch, opened: now, ..*named }
            }
        };
        self.names.insert(name.to_owned(), named);
        Ok(named)
    }
}
