//! The end at which an opening goes on, until it is durable itself.
//!
//! A file that was cut, or a name that was removed, is so for every reader, and after a power cut
//! perhaps not: then what was cut is there again, behind or in place of what was appended since. So
//! before anything is appended, the end of the last segment and the names in the folder are synced,
//! and what is a torn tail is put aside and cut. Reading needs none of that.

use std::sync::Arc;

use msglog_core::Result;

use crate::blocking::lock;
use crate::quarantine::Quarantine;
use crate::segment::Segment;
use crate::writer::Writer;

/// The end of the last segment, which may be another one after a power cut.
#[derive(Clone, Debug)]
pub(crate) struct LooseEnd {
    pub(crate) segment: Arc<Segment>,
    /// Whether a torn tail lies behind it.
    pub(crate) is_torn: bool,
}

impl Writer {
    /// Makes the end that an opening has found durable, so that something may stand behind it.
    pub(crate) fn fix_end(&self) -> Result<()> {
        let _one = lock(&self.syncing);
        self.healthy()?;
        self.cut_torn_end()?;
        let Some(LooseEnd { segment, .. }) = lock(&self.state).loose_end.clone() else {
            return Ok(());
        };
        let poisoned = |cause| self.poison("sync", cause);
        let file = self.log.files.file(&segment);
        let file = file.map_err(|cause| self.log.failed("sync", cause))?;
        self.fs().sync_dir(&self.log.dir).map_err(poisoned)?;
        file.sync_data().map_err(poisoned)?;
        let mut state = lock(&self.state);
        state.loose_end = None;
        state.folder_unsynced = false;
        Ok(())
    }

    /// Puts aside what lies behind the end and cuts it. Called with `syncing` held.
    pub(crate) fn cut_torn_end(&self) -> Result<()> {
        let torn = lock(&self.state).loose_end.clone().filter(|end| end.is_torn);
        let Some(LooseEnd { segment, .. }) = torn else { return Ok(()) };
        let offset = segment.extent().end;
        let mut quarantine = Quarantine::new(self.fs(), &self.log.dir);
        // A copy that fails has changed nothing.
        let failed = |cause| self.log.failed("cut the torn tail of", cause);
        let torn = quarantine.keep(segment.base, offset).map_err(failed)?;
        if let Some(file) = torn {
            let poisoned = |cause| self.poison("cut the torn tail of", cause);
            quarantine.cut(file.as_ref(), offset).map_err(poisoned)?;
            let kept = quarantine.finish().map_err(poisoned)?;
            lock(&self.report).quarantined.extend(kept);
        }
        if let Some(end) = &mut lock(&self.state).loose_end {
            end.is_torn = false;
        }
        Ok(())
    }
}
