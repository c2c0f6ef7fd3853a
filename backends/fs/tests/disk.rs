//! The simulated disk itself: what it keeps, and that a copy of it is a disk of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use msglog_fs::io::{File, FileSystem, OpenMode, SimFs};

fn write(file: &Arc<dyn File>, bytes: &[u8]) {
    assert_eq!(file.write_at(&[IoSlice::new(bytes)], 0).unwrap(), bytes.len());
}

/// What programs see of the file `/f`; `None` where there is none.
fn seen(disk: &SimFs) -> Option<String> {
    let file = disk.open(Path::new("/f"), OpenMode::Read).ok()?;
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    Some(String::from_utf8(bytes).unwrap())
}

/// A file that was created, written, synced with its name, and overwritten in part.
fn history(disk: &SimFs) {
    let file = disk.open(Path::new("/f"), OpenMode::CreateNew).unwrap();
    write(&file, b"12345678");
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    write(&file, b"abcd");
}

#[test]
fn copies_of_the_disk_are_as_it_was_at_each_change() {
    let disk = SimFs::new();
    disk.fork_after([4, 0, 2, 1, 9]);
    history(&disk);
    let forks = disk.take_forks();
    let contents: Vec<_> = forks.iter().map(seen).collect();
    let expected = [None, Some("1234"), Some("12345678"), Some("ab345678")];
    assert_eq!(contents, expected.map(|content| content.map(str::to_owned)));
    assert!(disk.take_forks().is_empty(), "each is taken once");
    // What becomes of one is nothing to the others.
    forks.iter().for_each(|fork| fork.crash_choosing(|_| 0));
    let contents: Vec<_> = forks.iter().map(seen).collect();
    assert_eq!(contents, [None, None, None, Some("12345678".to_owned())]);
    assert_eq!(seen(&disk).unwrap(), "abcd5678");
}

#[test]
fn power_cut_forgets_the_copies_that_are_still_to_come() {
    let disk = SimFs::new();
    disk.fork_after([3]);
    disk.cut_power_after(2);
    assert!(disk.open(Path::new("/f"), OpenMode::CreateNew).is_ok());
    disk.crash(0);
    history(&disk);
    assert!(disk.take_forks().is_empty());
}

#[test]
fn digest_tells_disks_apart_by_names_and_bytes_and_by_nothing_else() {
    let root = Path::new("/");
    let (one, other) = (SimFs::new(), SimFs::new());
    [&one, &other].into_iter().for_each(history);
    assert_eq!(one.digest(root), other.digest(root));
    other.sync_everything();
    assert_eq!(one.digest(root), other.digest(root), "what is durable is not seen");
    let fork = one.fork();
    let file = one.open(Path::new("/f"), OpenMode::ReadWrite).unwrap();
    let digests = [b"abcd", b"abce", b"abcd"].map(|bytes| {
        write(&file, bytes);
        one.digest(root)
    });
    assert!(digests[0] == other.digest(root) && digests[1] != digests[0]);
    assert_eq!((digests[2], fork.digest(root)), (digests[0], digests[0]));
    file.set_len(7).unwrap();
    assert_ne!(one.digest(root), digests[0]);
    other.rename(Path::new("/f"), Path::new("/g")).unwrap();
    assert_ne!(other.digest(root), digests[0]);
    assert_eq!(other.digest(Path::new("/none")), SimFs::new().digest(Path::new("/none")));
}
