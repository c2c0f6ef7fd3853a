//! Documents: loaded, and changed by compare-and-swap.

use std::sync::MutexGuard;

use msglog_core::Result;
use msglog_core::store::{Document, DocumentKey, Expected, Version, check};

use crate::session::Opening;
use crate::{DOCUMENT_BYTES_MAX, Database, lock};

impl<D: Database> Opening<D> {
    pub(crate) fn load(&self, key: &DocumentKey) -> Result<Option<Document>> {
        self.catch_up()?;
        self.database.document(key)
    }

    pub(crate) fn save(
        &self,
        key: &DocumentKey,
        value: &[u8],
        expected: Expected,
    ) -> Result<Version> {
        check::document_size(value, DOCUMENT_BYTES_MAX)?;
        let _turn = self.check_expected(key, expected)?;
        self.database.put_document(key, value)
    }

    pub(crate) fn discard(&self, key: &DocumentKey, expected: Expected) -> Result<bool> {
        let _turn = self.check_expected(key, expected)?;
        if self.database.document(key)?.is_none() {
            return Ok(false);
        }
        self.database.delete_document(key)?;
        Ok(true)
    }

    pub(crate) fn documents(&self, prefix: &str) -> Result<Vec<DocumentKey>> {
        self.catch_up()?;
        self.database.documents(prefix)
    }

    /// Lets no other document change while the answer lives.
    fn check_expected(&self, key: &DocumentKey, expected: Expected) -> Result<MutexGuard<'_, ()>> {
        let turn = lock(&self.document_turn);
        let current = self.database.document(key)?.map(|document| document.version);
        check::expected(key, expected, current)?;
        Ok(turn)
    }
}
