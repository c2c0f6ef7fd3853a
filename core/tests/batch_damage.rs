//! Bytes from outside are refused or read, and never panic or exceed the limits.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a helper that fails fails its test"
)]

use bytes::{BufMut, Bytes, BytesMut};
use msglog_core::batch::{
    BatchBuilder, BatchHeader, BatchOptions, Compression, DecodeLimits, HEADER_BYTES,
};
use msglog_core::{Error, ErrorKind, Header, Message, RecordBatch, Result, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;

const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];
const SMALL: DecodeLimits = DecodeLimits { records_bytes_max: 1 << 20 };

fn sample(compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default().with_compression(compression));
    let message = Message::new("payload payload payload").with_key("k").with_header("name", "v");
    for now in [1_000, 2_000, 500] {
        builder.push(&message, Timestamp::from_millis(now)).unwrap();
    }
    let mut batch = builder.build().unwrap();
    batch.stamp(7.into(), 3);
    batch.to_bytes()
}

/// A batch with a right CRC around these records.
fn forged(attributes: i16, last_offset_delta: i32, count: i32, records: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i64(100);
    bytes.put_i32(i32::try_from(HEADER_BYTES + records.len() - 12).unwrap());
    bytes.put_i32(-1);
    bytes.put_i8(2);
    bytes.put_u32(0);
    bytes.put_i16(attributes);
    bytes.put_i32(last_offset_delta);
    bytes.put_i64(1_000);
    bytes.put_i64(2_000);
    bytes.put_i64(-1);
    bytes.put_i16(-1);
    bytes.put_i32(-1);
    bytes.put_i32(count);
    bytes.put_slice(records);
    mend(&mut bytes);
    bytes.freeze()
}

/// Makes the CRC right again.
fn mend(bytes: &mut [u8]) {
    if bytes.len() >= 21 {
        let crc = crc_fast::crc32_iscsi(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
}

/// Everything that one can do with a batch; the first error, or the number of records.
fn exercise(bytes: &Bytes) -> Result<usize> {
    let _ = BatchHeader::parse(bytes);
    let split = RecordBatch::split_first(&mut bytes.clone());
    let batch = RecordBatch::decode(bytes.clone())?;
    assert_eq!(split.unwrap().unwrap(), batch);
    assert_eq!(batch.to_bytes(), bytes);
    assert!(batch.next_msn() > batch.base_msn());
    let decoded = batch.decoded(SMALL)?;
    let mut views = decoded.iter();
    for view in views.by_ref() {
        view.into_iter().for_each(|view| view.headers.for_each(drop));
    }
    assert!(views.next().is_none());
    let mut records = decoded.into_records();
    let mut count = 0;
    while let Some(record) = records.next() {
        if let Err(error) = record {
            assert!(records.next().is_none(), "ends after an error");
            return Err(error);
        }
        count += 1;
    }
    Ok(count)
}

fn kind(result: Result<usize>) -> Option<ErrorKind> {
    result.err().as_ref().map(Error::kind)
}

fn built_in() -> impl Iterator<Item = Compression> {
    CODECS.into_iter().filter(|codec| codec.is_built_in())
}

#[test]
fn batch_cut_at_any_byte_is_not_decoded() {
    for codec in built_in() {
        let whole = sample(codec);
        assert_eq!(exercise(&whole).unwrap(), 3);
        for cut in 0..whole.len() {
            let error = RecordBatch::decode(whole.slice(..cut)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "cut at {cut}");
        }
        let longer = Bytes::from([&whole[..], &[0]].concat());
        assert_eq!(RecordBatch::decode(longer).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn any_flipped_bit_outside_the_stamps_is_corrupt() {
    for codec in built_in() {
        let whole = sample(codec);
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.to_vec();
                bytes[at] ^= 1 << bit;
                let found = kind(exercise(&bytes.into()));
                if (0..8).contains(&at) || (12..16).contains(&at) {
                    assert!(matches!(found, None | Some(ErrorKind::Corrupt)), "{at}.{bit}");
                } else {
                    assert_eq!(found, Some(ErrorKind::Corrupt), "{at}.{bit}");
                }
            }
        }
    }
}

#[test]
fn any_changed_byte_under_a_right_crc_is_read_or_refused() {
    let refused = [ErrorKind::Corrupt, ErrorKind::TooLarge, ErrorKind::Unsupported];
    for codec in built_in() {
        let whole = sample(codec);
        for at in 21..whole.len() {
            for byte in 0..=255 {
                let mut bytes = whole.to_vec();
                bytes[at] = byte;
                mend(&mut bytes);
                let found = kind(exercise(&bytes.into()));
                assert!(found.is_none_or(|kind| refused.contains(&kind)), "{at} = {byte}");
            }
        }
    }
}

#[test]
fn records_cut_at_any_byte_under_a_right_crc_are_corrupt() {
    for codec in built_in() {
        let whole = sample(codec);
        let attributes = i16::from_be_bytes([whole[21], whole[22]]);
        for cut in HEADER_BYTES..whole.len() {
            let bytes = forged(attributes, 2, 3, &whole[HEADER_BYTES..cut]);
            let found = exercise(&bytes);
            // Nothing is missing but the end mark of the LZ4 frame.
            if codec == Compression::Lz4 && whole.len() - cut <= 4 {
                assert_eq!(found.unwrap(), 3);
            } else {
                assert_eq!(kind(found), Some(ErrorKind::Corrupt), "{codec:?} cut at {cut}");
            }
        }
    }
}

proptest! {
    #[test]
    fn noise_is_refused(noise in vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(kind(exercise(&noise.into())), Some(ErrorKind::Corrupt));
    }

    #[test]
    fn noise_as_records_is_read_or_refused(
        noise in vec(any::<u8>(), 0..300), attributes in 0..16_i16, count in 0..4_i32,
    ) {
        let found = kind(exercise(&forged(attributes, 3, count, &noise)));
        let refused = [ErrorKind::Corrupt, ErrorKind::TooLarge, ErrorKind::Unsupported];
        prop_assert!(found.is_none_or(|kind| refused.contains(&kind)));
    }

    #[test]
    fn small_numbers_as_records_are_read_or_refused(
        noise in vec(prop_oneof![0..12_u8, Just(0x80), Just(0xff), any::<u8>()], 0..60),
        count in 0..4_i32,
    ) {
        let found = kind(exercise(&forged(0, 3, count, &noise)));
        prop_assert!(matches!(found, None | Some(ErrorKind::Corrupt)));
    }
}

/// A record around these bytes, which start with the timestamp delta.
fn record(fields: &[u8]) -> Vec<u8> {
    let length = u8::try_from(fields.len() + 1).unwrap();
    assert!(length < 64, "one byte of length");
    [&[length << 1, 0], fields].concat()
}

/// Timestamp delta 0, this zigzag offset delta, null key, payload `p`, no headers.
fn plain(delta: u8) -> Vec<u8> {
    record(&[0, delta, 1, 2, b'p', 0])
}

#[test]
fn records_that_break_a_rule_are_corrupt() {
    let good = [plain(0), plain(2)].concat();
    assert_eq!(exercise(&forged(0, 1, 2, &good)).unwrap(), 2);
    assert_eq!(exercise(&forged(0, 5, 2, &good)).unwrap(), 2);
    let broken: [(&str, i32, i32, Vec<u8>); 18] = [
        ("count too small", 5, 1, good.clone()),
        ("count too large", 5, 3, good.clone()),
        ("count zero with records", 5, 0, good),
        ("trailing byte", 5, 1, [plain(0), vec![0]].concat()),
        ("record length negative", 5, 1, [&[1], &plain(0)[1..]].concat()),
        ("record length overlong", 5, 1, [&[0x80; 5][..], &[0], &plain(0)].concat()),
        ("record length beyond the batch", 5, 1, [&[100], &plain(0)[1..]].concat()),
        ("record empty", 5, 1, vec![0]),
        ("delta repeated", 5, 2, [plain(2), plain(2)].concat()),
        ("delta falls", 5, 2, [plain(4), plain(2)].concat()),
        ("delta negative", 5, 1, plain(1)),
        ("delta beyond the last", 1, 1, plain(4)),
        ("time overlong", 5, 1, record(&[&[0x80; 10][..], &[0, 0, 1, 1, 0]].concat())),
        ("key length -2", 5, 1, record(&[0, 0, 3, 2, b'p', 0])),
        ("payload length beyond the record", 5, 1, record(&[0, 0, 1, 4, b'p', 0])),
        ("header count negative", 5, 1, record(&[0, 0, 1, 2, b'p', 1])),
        ("header count beyond the bytes", 5, 1, record(&[0, 0, 1, 2, b'p', 4, 2, b'n', 1])),
        ("bytes after the fields", 5, 1, record(&[0, 0, 1, 2, b'p', 0, 0])),
    ];
    for (name, last, count, records) in broken {
        let bytes = forged(0, last, count, &records);
        let decoded = RecordBatch::decode(bytes.clone()).unwrap().decoded(SMALL).unwrap();
        assert!(decoded.iter().any(|view| view.is_err()), "{name}: no header need be looked at");
        assert_eq!(kind(exercise(&bytes)), Some(ErrorKind::Corrupt), "{name}");
    }
}

#[test]
fn headers_that_break_a_rule_are_corrupt() {
    let with_header = |header: &[u8]| record(&[&[0, 0, 1, 2, b'p', 2], header].concat());
    assert_eq!(exercise(&forged(0, 0, 1, &with_header(&[2, b'n', 1]))).unwrap(), 1);
    for (name, header) in [
        ("name null", &[1, 2, b'v'][..]),
        ("name length -2", &[3, 2, b'v']),
        ("name not UTF-8", &[2, 0xff, 2, b'v']),
        ("value cut", &[2, b'n', 6, b'v']),
        ("value length -2", &[2, b'n', 3]),
        ("bytes after the last", &[2, b'n', 1, 0]),
    ] {
        let bytes = forged(0, 0, 1, &with_header(header));
        assert_eq!(kind(exercise(&bytes)), Some(ErrorKind::Corrupt), "{name}");
        let decoded = RecordBatch::decode(bytes).unwrap().decoded(SMALL).unwrap();
        let mut headers = decoded.iter().next().unwrap().unwrap().headers;
        let errors: Vec<_> = headers.by_ref().filter_map(Result::err).collect();
        assert_eq!(errors.len(), 1, "{name}");
        assert!(headers.next().is_none(), "{name}");
    }
}

#[test]
fn header_fields_that_no_batch_can_hold_are_corrupt() {
    let good = forged(0, 0, 1, &plain(0));
    BatchHeader::parse(&good).unwrap();
    for (name, at, bytes) in [
        ("base MSN negative", 0, &(-1_i64).to_be_bytes()[..]),
        ("next MSN beyond the largest", 0, &i64::MAX.to_be_bytes()),
        ("length negative", 8, &(-1_i32).to_be_bytes()),
        ("length below the header", 8, &48_i32.to_be_bytes()),
        ("magic 1", 16, &[1]),
        ("magic 3", 16, &[3]),
        ("last offset delta negative", 23, &(-1_i32).to_be_bytes()),
        ("count negative", 57, &(-1_i32).to_be_bytes()),
        ("more records than MSNs", 57, &2_i32.to_be_bytes()),
    ] {
        let mut damaged = good.to_vec();
        damaged[at..at + bytes.len()].copy_from_slice(bytes);
        mend(&mut damaged);
        let error = BatchHeader::parse(&damaged).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}");
        let error = RecordBatch::decode(damaged.into()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}");
    }
}

#[test]
fn unknown_codec_is_whole_but_unsupported() {
    for codec in 5..8 {
        let batch = RecordBatch::decode(forged(codec, 0, 1, &plain(0))).unwrap();
        let error = batch.records(SMALL).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}

#[test]
fn codec_that_is_not_built_in_is_unsupported() {
    for (bits, codec) in (0..).zip(CODECS).filter(|(_, codec)| !codec.is_built_in()) {
        let batch = RecordBatch::decode(forged(bits, 0, 1, &plain(0))).unwrap();
        let error = batch.records(SMALL).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let feature = format!("cargo feature `{}`", codec.as_str());
        assert!(error.context().contains(&feature), "{error}");
    }
}

#[test]
fn bomb_is_refused_at_the_limit() {
    for codec in built_in().filter(|codec| *codec != Compression::None) {
        let mut builder = BatchBuilder::new(BatchOptions::default().with_compression(codec));
        builder.push(Message::new(vec![0; 32 << 20]), Timestamp::default()).unwrap();
        let records_bytes = builder.encoded_len() - HEADER_BYTES;
        let batch = builder.build().unwrap();
        assert!(batch.encoded_len() < 4 << 20, "{codec:?}");
        for records_bytes_max in [0, 1, 1 << 20, records_bytes - 1] {
            let error = batch.records(DecodeLimits { records_bytes_max }).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge, "{codec:?}");
        }
        let limits = DecodeLimits { records_bytes_max: records_bytes };
        assert_eq!(batch.records(limits).unwrap().count(), 1);
    }
}

#[test]
fn headers_that_would_allocate_beyond_the_limit_are_refused() {
    let headers = 100_000;
    let mut message = Message::new("p");
    for _ in 0..headers {
        message = message.with_header("", "");
    }
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.push(&message, Timestamp::default()).unwrap();
    let batch = builder.build().unwrap();
    let mut records = batch.records(SMALL).unwrap();
    assert_eq!(records.next().unwrap().unwrap_err().kind(), ErrorKind::TooLarge);
    assert!(records.next().is_none());
    let mut records = batch.records(DecodeLimits::default()).unwrap();
    assert_eq!(records.next().unwrap().unwrap().headers.len(), headers);
    let bytes = headers * size_of::<Header>();
    for (records_bytes_max, taken) in [(bytes, true), (bytes - 1, false)] {
        let mut records = batch.records(DecodeLimits { records_bytes_max }).unwrap();
        assert_eq!(records.next().unwrap().is_ok(), taken, "{records_bytes_max}");
    }
}

#[cfg(feature = "snappy")]
#[test]
fn snappy_without_framing_is_read() {
    let raw = snap::raw::Encoder::new().compress_vec(&plain(0)).unwrap();
    assert_eq!(exercise(&forged(2, 0, 1, &raw)).unwrap(), 1);
}

#[cfg(feature = "snappy")]
#[test]
fn snappy_block_that_claims_more_than_the_limit_is_refused() {
    let claim = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    assert_eq!(kind(exercise(&forged(2, 0, 1, &claim))), Some(ErrorKind::TooLarge));
}

#[cfg(feature = "lz4")]
#[test]
fn second_lz4_frame_is_not_silently_left_out() {
    let whole = sample(Compression::Lz4);
    let twice = [&whole[HEADER_BYTES..], &whole[HEADER_BYTES..]].concat();
    assert_eq!(kind(exercise(&forged(3, 2, 3, &twice))), Some(ErrorKind::Corrupt));
}
