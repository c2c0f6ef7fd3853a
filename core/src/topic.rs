//! Names: of topics, of their partitions, of consumers. Parsed once, safe as folder and key.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// The longest name of a topic or consumer, in bytes: what fits a folder name beside a partition.
pub const NAME_BYTES_MAX: usize = 200;

/// Checks a name against the allow-list: 1 to [`NAME_BYTES_MAX`] of `A-Z a-z 0-9 . _ -`.
///
/// # Errors
///
/// [`Invalid`](ErrorKind::Invalid) for an empty or too long name, one with any other character,
/// and one that starts with a dot (`.` and `..` among them).
pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    let invalid = |why: String| Err(Error::new(ErrorKind::Invalid, why));
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() {
        return invalid(format!("{what} name is empty"));
    }
    if name.len() > NAME_BYTES_MAX {
        let length = name.len();
        return invalid(format!("{what} name of {length} bytes is longer than {NAME_BYTES_MAX}"));
    }
    if let Some(bad) = name.chars().find(|c| !allowed(*c)) {
        return invalid(format!("{what} name `{}` has {bad:?}", name.escape_default()));
    }
    if name.starts_with('.') {
        return invalid(format!("{what} name `{name}` starts with a dot"));
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the name; afterwards nobody looks again.
            ///
            /// # Errors
            ///
            /// [`Invalid`](ErrorKind::Invalid) when it is empty, longer than [`NAME_BYTES_MAX`],
            /// starts with a dot, or has a character other than `A-Z a-z 0-9 . _ -`.
            pub fn parse(name: impl AsRef<str>) -> Result<Self> {
                let name = name.as_ref();
                check_name($what, name)?;
                Ok(Self(name.into()))
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(name: &str) -> Result<Self> {
                Self::parse(name)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(name: String) -> Result<Self> {
                Self::parse(name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }
    };
}

name_type! {
    /// The name of a topic: 1 to 200 of `A-Z a-z 0-9 . _ -`, not starting with a dot.
    TopicName, "topic"
}

name_type! {
    /// The name of a consumer: 1 to 200 of `A-Z a-z 0-9 . _ -`, not starting with a dot.
    ConsumerName, "consumer"
}

/// One ordered sequence of records: a topic and the number of one of its partitions.
///
/// Its text is `<topic>-<partition>`, which is also the name of its folder on a file system.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicName,
    /// The number of the partition, from 0.
    pub partition: u32,
}

impl TopicPartition {
    /// Partition `partition` of `topic`.
    pub fn new(topic: TopicName, partition: u32) -> Self {
        Self { topic, partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl FromStr for TopicPartition {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid =
            || Error::new(ErrorKind::Invalid, format!("`{text}` is no `topic-partition`"));
        let (topic, partition) = text.rsplit_once('-').ok_or_else(invalid)?;
        let number: u32 = partition.parse().map_err(|_| invalid())?;
        if number.to_string() != partition {
            return Err(invalid());
        }
        Ok(Self::new(TopicName::parse(topic)?, number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_outside_the_allow_list_are_invalid() {
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for name in ["", ".", "..", "../x", "a/b", ".hidden", "a b", "é", "a\0b", "a\\b", &long] {
            assert_eq!(TopicName::parse(name).unwrap_err().kind(), ErrorKind::Invalid, "{name:?}");
        }
        for name in ["a", "A.b_c-9", &"x".repeat(NAME_BYTES_MAX)] {
            assert_eq!(TopicName::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn topic_partition_text_is_read_back() {
        for text in ["orders-0", "a-1-2", "x.y-4294967295"] {
            assert_eq!(text.parse::<TopicPartition>().unwrap().to_string(), text);
        }
        for text in ["orders", "orders-", "orders-01", "-1", "orders--1", "orders-4294967296"] {
            let parsed = text.parse::<TopicPartition>();
            assert!(parsed.is_err() || parsed.unwrap().to_string() == text, "{text}");
        }
    }
}
