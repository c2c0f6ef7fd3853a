//! Every target takes its seeds, and all that its corpus keeps: what was found once stays mended.

use std::path::{Path, PathBuf};

use msglog_fuzz::{TARGETS, Target};

fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// The kept inputs of a target, by their names.
fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = std::fs::read_dir(folder(target)) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut all: Vec<_> =
        paths.map(|path| (path.display().to_string(), std::fs::read(path).unwrap())).collect();
    all.sort();
    all
}

#[test]
fn every_target_takes_its_seeds_and_its_corpus() {
    for target in &TARGETS {
        let seeds = (target.seeds)().into_iter().enumerate();
        let seeds = seeds.map(|(place, seed)| (format!("{} seed {place}", target.name), seed));
        let mut count = 0;
        for (name, input) in seeds.chain(corpus(target)) {
            println!("{name}");
            (target.run)(&input);
            count += 1;
        }
        assert!(count > 0, "{} has nothing to start from", target.name);
    }
}

#[test]
fn every_binary_is_a_target_and_every_target_has_one() {
    let binaries = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets"));
    let mut binaries: Vec<_> =
        binaries.unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    binaries.sort();
    assert_eq!(binaries, TARGETS.map(|target| format!("{}.rs", target.name)));
}
