//! Documents: loaded, and changed by compare-and-swap.

use std::sync::MutexGuard;

use msglog_core::store::{Document, DocumentKey, Expected, Version};
use msglog_core::{Error, ErrorKind, Result};

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
        if value.len() > DOCUMENT_BYTES_MAX {
            let length = value.len();
            let why = format!("document of {length} bytes; the limit is {DOCUMENT_BYTES_MAX}");
            return Err(Error::new(ErrorKind::TooLarge, why));
        }
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
        if expected.matches(self.database.document(key)?.map(|document| document.version)) {
            return Ok(turn);
        }
        let why = format!("document {key} is not in the expected state");
        Err(Error::new(ErrorKind::Conflict, why))
    }
}
