//! The few shapes that stored bytes are made of: numbers, strings, and a checked way to read them.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use msglog_core::{Error, ErrorKind, Result};

/// Reads what [`Writer`] wrote; anything else is `Corrupt`, never a panic.
#[derive(Debug)]
pub(crate) struct Reader {
    bytes: Bytes,
    what: &'static str,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes, what: &'static str) -> Self {
        Self { bytes, what }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        self.bytes.try_get_u8().map_err(|_| self.cut())
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        self.bytes.try_get_u32().map_err(|_| self.cut())
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        self.bytes.try_get_u64().map_err(|_| self.cut())
    }

    pub(crate) fn i64(&mut self) -> Result<i64> {
        self.bytes.try_get_i64().map_err(|_| self.cut())
    }

    pub(crate) fn u128(&mut self) -> Result<u128> {
        self.bytes.try_get_u128().map_err(|_| self.cut())
    }

    /// A count or length; never more than there are bytes left to hold so many things.
    pub(crate) fn count(&mut self) -> Result<usize> {
        let count = usize::try_from(self.u32()?).map_err(|_| self.cut())?;
        if count > self.bytes.len() {
            return Err(self.cut());
        }
        Ok(count)
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes> {
        let length = self.count()?;
        Ok(self.bytes.split_to(length))
    }

    pub(crate) fn text(&mut self) -> Result<String> {
        let bytes = self.bytes()?;
        String::from_utf8(bytes.into()).map_err(|_| self.broken("text is not UTF-8"))
    }

    pub(crate) fn broken(&self, why: &str) -> Error {
        Error::new(ErrorKind::Corrupt, format!("{}: {why}", self.what))
    }

    fn cut(&self) -> Error {
        self.broken("it is cut")
    }
}

/// Writes what [`Reader`] reads: big-endian numbers, bytes after their length.
#[derive(Debug, Default)]
pub(crate) struct Writer(BytesMut);

impl Writer {
    pub(crate) fn u8(&mut self, value: u8) {
        self.0.put_u8(value);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.0.put_u32(value);
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.0.put_u64(value);
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.0.put_i64(value);
    }

    pub(crate) fn u128(&mut self, value: u128) {
        self.0.put_u128(value);
    }

    /// A count or length; what is counted is bounded far below the limit by whoever calls.
    pub(crate) fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).unwrap_or(u32::MAX));
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.count(value.len());
        self.0.put_slice(value);
    }

    pub(crate) fn finish(self) -> Bytes {
        self.0.freeze()
    }
}

/// CRC-32C.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}
