//! Rules of the tree as a test: what a reader of any file may rely on.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 800;
/// What the stores on a key-value database have in common.
const SHARED_BY_BACKENDS: &str = "msglog-kv";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the tree below `folder` with this ending, without build output.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                found.extend(files(&path, ending));
            }
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

fn none<T: std::fmt::Debug>(what: &str, offenders: &[T]) {
    assert!(offenders.is_empty(), "{what}: {offenders:#?}");
}

#[test]
fn every_source_file_says_what_it_owns() {
    let bare: Vec<_> = files(root(), ".rs")
        .iter()
        .filter(|path| {
            let text = fs::read_to_string(path).unwrap();
            !(text.starts_with("//!") || text.starts_with("#![doc"))
        })
        .map(|path| shown(path))
        .collect();
    none("files that do not open with `//!`", &bare);
}

#[test]
fn no_source_file_is_longer_than_the_wall() {
    let long: Vec<_> = files(root(), ".rs")
        .iter()
        .map(|path| (shown(path), fs::read_to_string(path).unwrap().lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .collect();
    none("files of more than 800 lines", &long);
}

#[test]
fn no_test_name_starts_with_test() {
    let named: Vec<_> = files(root(), ".rs")
        .iter()
        .filter(|path| fs::read_to_string(path).unwrap().contains(concat!("fn test", "_")))
        .map(|path| shown(path))
        .collect();
    none("files with a test whose name is no promise", &named);
}

#[test]
fn exceptions_to_lints_have_a_reason() {
    let mut bare = Vec::new();
    for path in files(root(), ".rs") {
        let text = fs::read_to_string(&path).unwrap();
        for marker in [concat!("#[", "allow("), concat!("#![", "allow("), concat!("#[", "expect(")]
        {
            for (place, _) in text.match_indices(marker) {
                let attribute = text[place..].split(")]").next().unwrap();
                if !attribute.contains("reason =") {
                    bare.push(format!("{}: {attribute}", shown(&path)));
                }
            }
        }
    }
    none("exceptions without a reason", &bare);
}

/// The `msglog` packages that a manifest's section names.
fn msglog_dependencies(manifest: &str, section: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(manifest)).unwrap();
    let body = text.split(&format!("\n[{section}]\n")).nth(1).unwrap_or_default();
    let lines = body.lines().take_while(|line| !line.starts_with('['));
    let names = lines.filter_map(|line| line.split(['.', ' ', '=']).next());
    names.filter(|name| name.starts_with("msglog")).map(str::to_owned).collect()
}

#[test]
fn dependencies_point_inwards() {
    assert!(msglog_dependencies("core/Cargo.toml", "dependencies").is_empty());
    assert_eq!(msglog_dependencies("conformance/Cargo.toml", "dependencies"), ["msglog-core"]);
    for backend in fs::read_dir(root().join("backends")).unwrap() {
        let manifest = format!("{}/Cargo.toml", shown(&backend.unwrap().path()));
        let mut inwards = msglog_dependencies(&manifest, "dependencies");
        // What backends share is no backend; it knows none of them.
        inwards.retain(|name| name != SHARED_BY_BACKENDS);
        assert_eq!(inwards, ["msglog-core"], "{manifest}");
    }
    let shared = msglog_dependencies("backends/kv/Cargo.toml", "dependencies");
    assert_eq!(shared, ["msglog-core"], "{SHARED_BY_BACKENDS}");
}

#[test]
fn contract_and_types_know_nothing_of_the_log() {
    let log = root().join("core/src/log");
    let knowing: Vec<_> = files(&root().join("core/src"), ".rs")
        .iter()
        .filter(|path| !path.starts_with(&log))
        .filter(|path| {
            let blocking = root().join("core/src/blocking");
            !path.ends_with("lib.rs")
                && !path.ends_with("blocking.rs")
                && !path.starts_with(&blocking)
        })
        .filter(|path| {
            let text = fs::read_to_string(path).unwrap();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            code.into_iter().any(|line| line.contains("crate::log"))
        })
        .map(|path| shown(path))
        .collect();
    none("files below the log that use it", &knowing);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut dead = Vec::new();
    for path in files(root(), ".md") {
        let text = fs::read_to_string(&path).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            if !path.parent().unwrap().join(file).exists() {
                dead.push(format!("{}: {target}", shown(&path)));
            }
        }
    }
    none("links to nothing", &dead);
}

#[test]
fn every_public_crate_takes_the_shared_lints() {
    let without: Vec<_> = files(root(), "Cargo.toml")
        .iter()
        .filter(|path| {
            let text = fs::read_to_string(path).unwrap();
            // A manifest with a workspace of its own is a third party's.
            let foreign = text.contains("\n[workspace]\n") && path.parent() != Some(root());
            !foreign && !text.contains("[lints]\nworkspace = true")
        })
        .map(|path| shown(path))
        .collect();
    none("crates without the workspace's lints", &without);
}

/// The value of a constant in a source file, as it is written.
fn constant(file: &str, name: &str) -> String {
    let text = fs::read_to_string(root().join(file)).unwrap();
    let line = text.lines().find(|line| line.contains(&format!("const {name}:")));
    let line = line.unwrap_or_else(|| panic!("{file} has no constant {name}"));
    line.split(" = ").nth(1).unwrap().trim_end_matches(';').to_owned()
}

#[test]
fn format_page_names_the_constants_of_the_code() {
    let page = fs::read_to_string(root().join("docs/format.md")).unwrap();
    let header = constant("core/src/batch/mod.rs", "HEADER_BYTES");
    assert!(page.contains(&format!("| {header} | | records |")), "header of {header} bytes");
    for (file, name) in
        [("backends/fs/src/checkpoint.rs", "MAGIC"), ("backends/fs/src/documents.rs", "MAGIC")]
    {
        let magic = constant(file, name);
        let magic = magic.trim_start_matches("b\"").trim_end_matches('"');
        assert!(page.contains(&format!("`{magic}`")), "{file}: {magic}");
    }
    for name in ["MANIFEST", "LOCK", "PREPARED", "CHECKPOINT", "QUARANTINE", "DOCUMENTS"] {
        let file = constant("backends/fs/src/layout.rs", name);
        assert!(page.contains(file.trim_matches('"')), "{name}: {file}");
    }
    let format = constant("backends/fs/src/manifest.rs", "FORMAT");
    assert!(page.contains(&format!("Version {format}.")), "version {format}");
    let interval = constant("backends/fs/src/options.rs", "INDEX_INTERVAL_BYTES_DEFAULT");
    assert_eq!(interval, "4096");
    assert!(page.contains("every 4,096 bytes"));
}

/// The names of public functions in the `impl` blocks of a type, and in the trait `MsgLog`.
fn public_functions(folder: &str, of: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut paths = files(&root().join(folder), ".rs");
    paths.push(root().join(format!("{folder}.rs")));
    for path in paths.iter().filter(|path| path.exists()) {
        let text = fs::read_to_string(path).unwrap();
        let mut within = false;
        for line in text.lines() {
            if !line.starts_with(' ') && line.ends_with('{') {
                within = line == format!("impl {of} {{")
                    || line.starts_with(&format!("pub trait {of}:"));
            }
            let is_trait = of == "MsgLog" && line.starts_with("    async fn ");
            let public = line.starts_with("    pub fn ") || line.starts_with("    pub async fn ");
            if within && (public || is_trait) {
                let name = line.split("fn ").nth(1).unwrap();
                names.push(name.split(['(', '<']).next().unwrap().to_owned());
            }
        }
    }
    names
}

#[test]
fn every_call_of_the_log_has_a_blocking_twin() {
    // Calls without a twin, and why.
    let without = [
        ("MsgLog", "configure_topic", "`configure`"),
        ("MsgLog", "append", "of the topic"),
        ("MsgLog", "append_batch", "of the topic"),
        ("MsgLog", "read", "of the topic"),
        ("MsgLog", "subscribe", "of the topic"),
        ("MsgLog", "find", "of the topic"),
        ("MsgLog", "bounds", "of the topic"),
        ("MsgLog", "trim", "of the topic"),
        ("MsgLog", "commit", "of the consumer"),
        ("MsgLog", "committed", "of the consumer"),
        ("Log", "builder", "its `open` is given to `blocking::Log::start`"),
        ("Topic", "append_batch_with", "`append_batch` takes the options"),
        ("Topic", "typed", "typed topics are for async code"),
        ("Topic", "sink", "for streams, which are async"),
        ("Topic", "sink_with", "for streams, which are async"),
        ("Appended", "ack", "`wait`"),
    ];
    let mut missing = Vec::new();
    for of in ["Log", "MsgLog", "Topic", "Consumer", "Subscription", "BatchSubscription"]
        .into_iter()
        .chain(["MergedSubscription", "Appended"])
    {
        let calls = public_functions("core/src/log", of);
        assert!(!calls.is_empty(), "{of} has no calls");
        let twin = if of == "MsgLog" { "Log" } else { of };
        let twins = public_functions("core/src/blocking", twin);
        for call in calls {
            let excepted = without.iter().any(|(whose, what, _)| *whose == of && *what == call);
            assert!(!(excepted && twins.contains(&call) && of != "MsgLog"), "{of}::{call} has one");
            if !excepted && !twins.contains(&call) {
                missing.push(format!("{of}::{call}"));
            }
        }
    }
    none("calls without a blocking twin", &missing);
}
