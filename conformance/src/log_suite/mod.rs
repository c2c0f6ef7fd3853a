//! The cases of the log as users see it, over the store under test: its groups go here.

use crate::Case;

/// Every group of the log suite, in the order of reports; they come after those of the store.
pub const GROUPS: &[&[Case]] = &[];
