//! How a subscription reads: the size of its pages, how many ahead, and which records.

use std::time::Duration;

use super::filter::Filter;
use crate::{Error, ErrorKind, Result};

/// The largest page of a subscription.
const PAGE_BYTES_MAX: usize = 64 << 20;
/// The most pages that are read ahead.
const PAGES_AHEAD_MAX: usize = 64;
/// The longest spin.
const SPIN_MAX: Duration = Duration::from_secs(1);

/// How a subscription reads. The defaults are right for most.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SubscribeOptions {
    /// The size of a page in bytes, 1 to 64 MiB; when `None`, 256 KiB where pages are there at once
    /// and 1 MiB where they have to be waited for. A page has at least one batch.
    pub page_bytes: Option<usize>,
    /// How many pages are read ahead while one is consumed, 0 to 64 (1). Only where pages have to
    /// be waited for: what is in memory already is not copied ahead.
    pub pages_ahead: usize,
    /// Which records it gives.
    pub filter: Filter,
    /// How long a subscription that has reached the end looks again and again before it sleeps, up
    /// to 1 s (zero).
    ///
    /// Being woken takes a sleeping thread some tens of microseconds, looking again less than one;
    /// but it takes a whole core for as long, so it pays for one subscription that a core is kept
    /// for. Other tasks of its worker run between the looks. A log opened for reading asks its
    /// store at `poll_interval` instead.
    pub spin: Duration,
}

impl Default for SubscribeOptions {
    fn default() -> Self {
        Self { page_bytes: None, pages_ahead: 1, filter: Filter::Everything, spin: Duration::ZERO }
    }
}

impl SubscribeOptions {
    /// Reads pages of about this many bytes.
    #[must_use]
    pub fn with_page_bytes(mut self, bytes: usize) -> Self {
        self.page_bytes = Some(bytes);
        self
    }

    /// Reads up to this many pages ahead; 0 for none.
    #[must_use]
    pub fn with_pages_ahead(mut self, pages: usize) -> Self {
        self.pages_ahead = pages;
        self
    }

    /// Gives only the records that `filter` asks for.
    #[must_use]
    pub fn with_filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Looks again and again for so long before it sleeps.
    #[must_use]
    pub fn with_spin(mut self, spin: Duration) -> Self {
        self.spin = spin;
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        if let Some(bytes) = self.page_bytes.filter(|bytes| !(1..=PAGE_BYTES_MAX).contains(bytes)) {
            let why = format!("page_bytes of {bytes} is not within 1 to {PAGE_BYTES_MAX}");
            return Err(Error::new(ErrorKind::Invalid, why));
        }
        if self.pages_ahead > PAGES_AHEAD_MAX {
            let why = format!("pages_ahead of {} is more than {PAGES_AHEAD_MAX}", self.pages_ahead);
            return Err(Error::new(ErrorKind::Invalid, why));
        }
        if self.spin > SPIN_MAX {
            let why = format!("a spin of {:?} is longer than {SPIN_MAX:?}", self.spin);
            return Err(Error::new(ErrorKind::Invalid, why));
        }
        Ok(())
    }
}
