//! What every codec promises: what goes in comes out, and other bytes are an error.

use bytes::{Bytes, BytesMut};

use super::{CODEC_ID_BYTES_MAX, Codec, CodecId, Raw};
use crate::ErrorKind;

fn encoded<T>(codec: &impl Codec<T>, value: &T) -> Bytes {
    let mut buffer = BytesMut::from("before");
    codec.encode(value, &mut buffer).unwrap();
    assert!(buffer.starts_with(b"before"), "{:?} changed what was there", codec.id());
    buffer.freeze().slice(6..)
}

#[test]
fn id_is_short_and_of_known_characters() {
    for id in ["json", "order.v2+json", "A_9-x", &"x".repeat(CODEC_ID_BYTES_MAX)] {
        assert_eq!(CodecId::parse(id).unwrap().as_str(), id);
    }
    for id in ["", "a b", "é", "a/b", "a\n", &"x".repeat(CODEC_ID_BYTES_MAX + 1)] {
        assert_eq!(CodecId::parse(id).unwrap_err().kind(), ErrorKind::Invalid, "`{id}`");
    }
}

#[test]
fn raw_bytes_come_back_without_a_copy() {
    let payload = encoded(&Raw::default(), &Bytes::from_static(b"\0\xff"));
    let value = Raw::default().decode(&payload).unwrap();
    assert_eq!(value.as_ref(), b"\0\xff");
    assert_eq!(value.as_ptr(), payload.as_ptr());
}

#[cfg(any(feature = "bincode", feature = "json", feature = "postcard"))]
mod by_serde {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
    enum Shape {
        Unit,
        Pair(i64, Option<String>),
        Named { bytes: Vec<u8>, map: BTreeMap<String, u32> },
    }

    fn shapes() -> impl Strategy<Value = Shape> {
        let map = prop::collection::btree_map(".{0,5}", any::<u32>(), 0..4);
        prop_oneof![
            Just(Shape::Unit),
            (any::<i64>(), proptest::option::of(".{0,9}")).prop_map(|(n, s)| Shape::Pair(n, s)),
            (any::<Vec<u8>>(), map).prop_map(|(bytes, map)| Shape::Named { bytes, map }),
        ]
    }

    /// Round trip; every cut is an error; a byte more is an error.
    fn check(codec: &impl Codec<Shape>, value: &Shape) -> Result<(), TestCaseError> {
        let payload = encoded(codec, value);
        prop_assert_eq!(&codec.decode(&payload).unwrap(), value, "{:?}", codec.id());
        for cut in 0..payload.len() {
            prop_assert!(codec.decode(&payload.slice(..cut)).is_err(), "cut at {}", cut);
        }
        let more = Bytes::from([&payload, b"1".as_slice()].concat());
        prop_assert!(codec.decode(&more).is_err(), "{:?} ignores a byte", codec.id());
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn value_comes_back_and_a_part_of_it_does_not(value in shapes()) {
            #[cfg(feature = "json")]
            check(&super::super::Json::default(), &value)?;
            #[cfg(feature = "bincode")]
            check(&super::super::Bincode::default(), &value)?;
            #[cfg(feature = "postcard")]
            check(&super::super::Postcard::default(), &value)?;
        }

        #[test]
        fn bytes_of_any_kind_do_not_panic(bytes in any::<Vec<u8>>()) {
            let payload = Bytes::from(bytes);
            #[cfg(feature = "json")]
            let _ = Codec::<Shape>::decode(&super::super::Json::default(), &payload);
            #[cfg(feature = "bincode")]
            let _ = Codec::<Shape>::decode(&super::super::Bincode::default(), &payload);
            #[cfg(feature = "postcard")]
            let _ = Codec::<Shape>::decode(&super::super::Postcard::default(), &payload);
        }
    }

    #[cfg(feature = "bincode")]
    #[test]
    fn length_that_a_payload_only_claims_makes_no_room() {
        // 253 says that eight bytes of length follow.
        let claim = [&[253], (1_u64 << 60).to_le_bytes().as_slice()].concat();
        let decoded: Result<String, _> =
            super::super::Bincode::default().decode(&Bytes::from(claim));
        assert!(decoded.unwrap_err().to_string().contains("LimitExceeded"));
    }
}
