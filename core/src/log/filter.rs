//! Which records a reader asks for, by key and headers.

use bytes::Bytes;

use super::partition::Partition;
use super::read::Page;
use crate::batch::{DecodeLimits, HeaderViews, RecordView};
use crate::store::ReadLimit;
use crate::{Msn, Record, RecordBatch, Result};

/// Which records a reader asks for. Looked at where the reader is: the store reads all of them.
///
/// ```
/// use msglog_core::log::Filter;
///
/// let orders_of_ann = Filter::all([
///     Filter::key_prefix("order/"),
///     Filter::header("customer", "ann"),
/// ]);
/// # let _ = orders_of_ann;
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Filter {
    /// Every record.
    #[default]
    Everything,
    /// Records with exactly this key.
    Key(Bytes),
    /// Records whose key starts with this; none without a key.
    KeyPrefix(Bytes),
    /// Records with a header of this name, whatever its value.
    HasHeader(String),
    /// Records one of whose headers of this name has this value.
    Header(String, Bytes),
    /// Records that all of these ask for; with none of them every record.
    All(Vec<Filter>),
    /// Records that any of these asks for; with none of them no record.
    Any(Vec<Filter>),
    /// Records that this one does not ask for.
    Not(Box<Filter>),
}

impl Filter {
    /// Records with exactly this key.
    pub fn key(key: impl Into<Bytes>) -> Self {
        Self::Key(key.into())
    }

    /// Records whose key starts with `prefix`.
    pub fn key_prefix(prefix: impl Into<Bytes>) -> Self {
        Self::KeyPrefix(prefix.into())
    }

    /// Records with a header of this name.
    pub fn has_header(name: impl Into<String>) -> Self {
        Self::HasHeader(name.into())
    }

    /// Records one of whose headers of this name has this value.
    pub fn header(name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self::Header(name.into(), value.into())
    }

    /// Records that all of `filters` ask for.
    pub fn all(filters: impl IntoIterator<Item = Self>) -> Self {
        Self::All(filters.into_iter().collect())
    }

    /// Records that any of `filters` asks for.
    pub fn any(filters: impl IntoIterator<Item = Self>) -> Self {
        Self::Any(filters.into_iter().collect())
    }

    /// Records that `filter` does not ask for.
    #[expect(clippy::should_implement_trait, reason = "a constructor among constructors")]
    pub fn not(filter: Self) -> Self {
        Self::Not(Box::new(filter))
    }

    /// Whether it asks for this record.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) when it looks at headers that are damaged.
    pub fn matches(&self, record: &RecordView<'_>) -> Result<bool> {
        match self {
            Self::Everything => Ok(true),
            Self::Key(key) => Ok(record.key == Some(key.as_ref())),
            Self::KeyPrefix(prefix) => Ok(record.key.is_some_and(|key| key.starts_with(prefix))),
            Self::HasHeader(name) => has_header(record.headers, name, None),
            Self::Header(name, value) => has_header(record.headers, name, Some(value)),
            Self::All(filters) => {
                for filter in filters {
                    if !filter.matches(record)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Any(filters) => {
                for filter in filters {
                    if filter.matches(record)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Not(filter) => Ok(!filter.matches(record)?),
        }
    }

    /// The records of a batch from `from` on that it asks for; the others are never owned.
    pub(super) fn take(&self, batch: &RecordBatch, from: Msn) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        let decoded = batch.decoded(DecodeLimits::default())?;
        for view in &decoded {
            let view = view?;
            if view.msn >= from && self.matches(&view)? {
                records.push(decoded.own(&view)?);
            }
        }
        Ok(records)
    }
}

fn has_header(headers: HeaderViews<'_>, name: &str, value: Option<&[u8]>) -> Result<bool> {
    for header in headers {
        let header = header?;
        if header.name == name && (value.is_none() || header.value == value) {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Partition {
    /// What one read of the store brings of the records that the filter asks for.
    pub(super) async fn read_filtered(
        &self,
        from: Msn,
        limit: ReadLimit,
        filter: &Filter,
    ) -> Result<Page> {
        let read = self.read_batches(from, limit).await?;
        let mut page = Page { records: Vec::new(), next_msn: read.next_msn };
        for batch in &read.batches {
            page.records.append(&mut filter.take(batch, from)?);
        }
        Ok(page)
    }
}
