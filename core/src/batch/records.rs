//! Iteration over the records of a batch, borrowed or owned, without copying.

use std::iter::FusedIterator;
use std::str;

use bytes::{Bytes, BytesMut};

use super::cursor::Cursor;
use super::{BatchHeader, DecodeLimits, corrupt, varint};
use crate::{Error, ErrorKind, Header, Msn, Record, Result, Timestamp};

/// Fewest bytes of a header: its two lengths.
const HEADER_BYTES_MIN: usize = 2;

/// The records of a batch, decompressed and not yet parsed: what both iterators read from.
#[derive(Clone, Debug)]
pub struct DecodedBatch {
    cursor: Cursor,
    bytes: Bytes,
    limits: DecodeLimits,
}

impl DecodedBatch {
    pub(super) fn new(header: &BatchHeader, bytes: Bytes, limits: DecodeLimits) -> Self {
        Self { cursor: Cursor::new(header), bytes, limits }
    }

    /// Some consecutive records of a batch, so many from that offset delta on.
    pub(super) fn part(header: &BatchHeader, bytes: Bytes, delta_min: u32, left: u32) -> Self {
        let cursor = Cursor::new(header).with_delta_min(delta_min).with_left(left);
        Self { cursor, bytes, limits: DecodeLimits::default() }
    }

    /// The bytes of the records.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The records as borrowed views: no allocation and no reference count for each.
    pub fn iter(&self) -> RecordViews<'_> {
        RecordViews { cursor: self.cursor, rest: &self.bytes }
    }

    /// The records as owned values, whose fields are slices of these bytes.
    pub fn into_records(self) -> Records {
        Records { cursor: self.cursor, bytes: self.bytes, at: 0, limits: self.limits }
    }

    /// As [`iter`](Self::iter) from a place that [`RecordViews::place`] told.
    pub(super) fn iter_from(&self, offset: usize, left: u32) -> RecordViews<'_> {
        let rest = self.bytes.get(offset..).unwrap_or_default();
        RecordViews { cursor: self.cursor.with_left(left), rest }
    }

    /// The first MSN that the batch covers.
    pub(super) fn base_msn(&self) -> Msn {
        self.cursor.base_msn
    }

    /// The record of a view of this batch, as slices of these bytes.
    pub(super) fn slice(&self, view: &RecordView<'_>) -> Result<Record> {
        own_with(view, self.limits, |field| slice_of(&self.bytes, field))
    }

    /// The record of a view, in `bytes` of memory or more of its own.
    pub(super) fn copy(&self, view: &RecordView<'_>, bytes: usize) -> Result<Record> {
        let mut buffer = BytesMut::with_capacity(bytes);
        own_with(view, self.limits, |field| {
            buffer.extend_from_slice(field);
            buffer.split().freeze()
        })
    }

    /// Bytes of the records once decompressed.
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }
}

impl<'a> IntoIterator for &'a DecodedBatch {
    type Item = Result<RecordView<'a>>;
    type IntoIter = RecordViews<'a>;

    fn into_iter(self) -> RecordViews<'a> {
        self.iter()
    }
}

/// A record whose fields are borrowed from the batch.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// Its place in the partition.
    pub msn: Msn,
    /// When it was created, or appended where the batch says so.
    pub timestamp: Timestamp,
    /// Identity, if it has one.
    pub key: Option<&'a [u8]>,
    /// The bytes; `None` with a key is a tombstone.
    pub payload: Option<&'a [u8]>,
    /// Small metadata, in order; parsed, and so checked, only when iterated.
    pub headers: HeaderViews<'a>,
}

/// The headers of a record, parsed as they are taken; ends after an error.
#[derive(Clone, Copy, Debug)]
pub struct HeaderViews<'a> {
    left: usize,
    rest: &'a [u8],
}

impl<'a> HeaderViews<'a> {
    #[inline]
    pub(super) fn of_parts(left: usize, rest: &'a [u8]) -> Self {
        Self { left, rest }
    }

    #[inline]
    pub(super) fn parts(self) -> (usize, &'a [u8]) {
        (self.left, self.rest)
    }

    /// How many headers are left, if none is damaged.
    pub fn count_left(&self) -> usize {
        self.left
    }
}

/// A header whose parts are borrowed from the batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HeaderView<'a> {
    /// The name.
    pub name: &'a str,
    /// The value; `None` is distinct from empty.
    pub value: Option<&'a [u8]>,
}

impl<'a> Iterator for HeaderViews<'a> {
    /// A header, or [`Corrupt`](crate::ErrorKind::Corrupt).
    type Item = Result<HeaderView<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            if self.rest.is_empty() {
                return None;
            }
            self.rest = &[];
            return Some(Err(corrupt("record has bytes after its last header")));
        }
        self.left -= 1;
        match take_header(&mut self.rest) {
            Ok(header) => Some(Ok(header)),
            Err(what) => {
                (self.left, self.rest) = (0, &[]);
                Some(Err(corrupt(what)))
            }
        }
    }
}

impl FusedIterator for HeaderViews<'_> {}

/// The records of a batch, borrowed; ends after an error.
#[derive(Clone, Debug)]
pub struct RecordViews<'a> {
    cursor: Cursor,
    rest: &'a [u8],
}

impl<'a> RecordViews<'a> {
    /// Passes over the next record, of which no more than its place is checked; `None` at the end.
    pub(super) fn pass(&mut self) -> Option<Result<()>> {
        self.cursor.pass(&mut self.rest).map(|delta| delta.map(|_| ()))
    }

    /// The next record at or after `msn`. Of those before it no more than their place is checked.
    pub(super) fn next_from(&mut self, msn: Msn) -> Option<Result<RecordView<'a>>> {
        let wanted = msn.distance_from(self.cursor.base_msn);
        loop {
            let before = (self.cursor, self.rest);
            match self.cursor.pass(&mut self.rest)? {
                Ok(delta) if u64::from(delta) < wanted => {}
                Ok(_) => {
                    (self.cursor, self.rest) = before;
                    return self.next();
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Where the next record begins among `bytes_len`, its smallest offset delta, how many are left.
    pub(super) fn place(&self, bytes_len: usize) -> (usize, u32, u32) {
        (bytes_len - self.rest.len(), self.cursor.delta_min, self.cursor.left)
    }
}

impl<'a> Iterator for RecordViews<'a> {
    /// A record, or [`Corrupt`](crate::ErrorKind::Corrupt).
    type Item = Result<RecordView<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.cursor.next(&mut self.rest)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.cursor.size_hint()
    }
}

impl FusedIterator for RecordViews<'_> {}

/// The records of a batch, owned: cheap slices of its bytes, which they keep alive.
///
/// Ends after an error.
#[derive(Clone, Debug)]
pub struct Records {
    cursor: Cursor,
    bytes: Bytes,
    /// Where the next record begins.
    at: usize,
    limits: DecodeLimits,
}

impl Iterator for Records {
    /// A record, or [`Corrupt`](crate::ErrorKind::Corrupt), or
    /// [`TooLarge`](crate::ErrorKind::TooLarge) when its headers alone exceed the limit.
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut rest = self.bytes.get(self.at..).unwrap_or_default();
        let view = match self.cursor.next(&mut rest)? {
            Ok(view) => view,
            Err(error) => return Some(Err(error)),
        };
        self.at = self.bytes.len() - rest.len();
        let own = |field: &[u8]| slice_of(&self.bytes, field);
        let headers = match own_headers(&view, self.limits, own) {
            Ok(headers) => headers,
            Err(error) => {
                self.cursor.end();
                return Some(Err(error));
            }
        };
        Some(Ok(own_fields(&view, headers, own)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.cursor.size_hint()
    }
}

impl FusedIterator for Records {}

/// The slice of `bytes` that a field of them is; nothing of them is kept alive by an empty one.
#[inline]
fn slice_of(bytes: &Bytes, field: &[u8]) -> Bytes {
    if field.is_empty() {
        return Bytes::new();
    }
    let start = field.as_ptr().addr().wrapping_sub(bytes.as_ptr().addr());
    bytes.slice(start..start.wrapping_add(field.len()))
}

/// An owned record, whose fields are made by `own`.
fn own_with(
    view: &RecordView<'_>,
    limits: DecodeLimits,
    mut own: impl FnMut(&[u8]) -> Bytes,
) -> Result<Record> {
    let headers = own_headers(view, limits, &mut own)?;
    Ok(own_fields(view, headers, own))
}

#[inline]
fn own_fields(
    view: &RecordView<'_>,
    headers: Vec<Header>,
    mut own: impl FnMut(&[u8]) -> Bytes,
) -> Record {
    Record {
        msn: view.msn,
        timestamp: view.timestamp,
        key: view.key.map(&mut own),
        payload: view.payload.map(&mut own),
        headers,
    }
}

#[inline]
fn own_headers(
    view: &RecordView<'_>,
    limits: DecodeLimits,
    own: impl FnMut(&[u8]) -> Bytes,
) -> Result<Vec<Header>> {
    match view.headers {
        HeaderViews { left: 0, rest: [] } => Ok(Vec::new()),
        headers => own_some_headers(headers, view.msn, limits, own),
    }
}

fn own_some_headers(
    views: HeaderViews<'_>,
    msn: Msn,
    limits: DecodeLimits,
    mut own: impl FnMut(&[u8]) -> Bytes,
) -> Result<Vec<Header>> {
    let headers_max = limits.records_bytes_max / size_of::<Header>();
    if views.left > headers_max {
        let context = format!("record {msn} has more than {headers_max} headers");
        return Err(Error::new(ErrorKind::TooLarge, context));
    }
    let mut headers = Vec::with_capacity(views.left);
    for header in views {
        let HeaderView { name, value } = header?;
        headers.push(Header { name: name.to_owned(), value: value.map(&mut own) });
    }
    Ok(headers)
}

pub(super) fn take_header_views(mut record: &[u8]) -> Result<HeaderViews<'_>, &'static str> {
    let count = varint::take_int(&mut record).ok_or("header count is cut or overlong")?;
    let left = usize::try_from(count).map_err(|_| "header count is negative")?;
    if left > record.len() / HEADER_BYTES_MIN {
        return Err("record has more headers than bytes for them");
    }
    if left == 0 && !record.is_empty() {
        return Err("record has bytes after its last field");
    }
    Ok(HeaderViews { left, rest: record })
}

fn take_header<'a>(rest: &mut &'a [u8]) -> Result<HeaderView<'a>, &'static str> {
    let name = take_nullable(rest)?.ok_or("header name is null")?;
    let name = str::from_utf8(name).map_err(|_| "header name is not UTF-8")?;
    Ok(HeaderView { name, value: take_nullable(rest)? })
}

#[inline]
pub(super) fn take_nullable<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, &'static str> {
    let length = varint::take_int(rest).ok_or("field length is cut or overlong")?;
    if length == -1 {
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(|_| "field length is negative")?;
    let (field, after) = rest.split_at_checked(length).ok_or("field is cut")?;
    *rest = after;
    Ok(Some(field))
}
