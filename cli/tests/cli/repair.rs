//! `verify` and `repair` on damaged stores.

use crate::run::Place;

fn damaged() -> Place {
    let place = Place::new();
    for text in ["one\n", "two\n", "three\n"] {
        place.produce(&["orders"], text.as_bytes());
    }
    let segment = place.path().join("orders-0").join("00000000000000000000.log");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[65] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    place
}

#[test]
fn whole_store_verifies_and_needs_no_repair() {
    let place = Place::new();
    place.produce(&["orders"], b"one\ntwo\n");
    let ran = place.run("verify", &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(String::from_utf8_lossy(&ran.stdout).contains("whole"), "{ran:?}");
    assert_eq!(place.run("repair", &[]).code, 0);
}

#[test]
fn damage_is_named_and_only_repaired_when_told_to_after_a_backup() {
    let place = damaged();
    let ran = place.run("verify", &[]);
    assert_eq!(ran.code, 2, "{ran:?}");
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(text.contains("MSNs 0..1 are lost"), "{text}");
    let before = std::fs::read(place.path().join("orders-0/checkpoint")).unwrap();
    assert_eq!(place.run("repair", &[]).code, 5);
    assert_eq!(std::fs::read(place.path().join("orders-0/checkpoint")).unwrap(), before);
    assert_eq!(place.run("repair", &["--apply"]).code, 64, "a backup is required");
    let backup = place.path().with_file_name("backup");
    let folder = backup.to_str().unwrap();
    assert_eq!(place.run("repair", &["--apply", "--backup", folder]).code, 0);
    assert_eq!(std::fs::read(backup.join("orders-0/checkpoint")).unwrap(), before);
    let ran = place.run("consume", &["orders"]);
    assert_eq!(ran.stdout, b"two\nthree\n");
    // What is lost stays lost, and stays known.
    assert_eq!(place.run("verify", &[]).code, 2);
}
