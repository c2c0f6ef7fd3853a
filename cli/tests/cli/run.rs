//! Runs the command in a folder of its own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use tempfile::TempDir;

/// A store in a temporary folder, and the command on it.
pub(crate) struct Place {
    folder: TempDir,
}

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// The folder of the store, which does not exist before something is produced.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// A file beside the store.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn url(&self) -> String {
        format!("fs://{}", self.path().display())
    }

    /// The command `msglog <name> <url of the store> <arguments>`.
    pub(crate) fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = msglog(&[name, &self.url()]);
        command.args(arguments);
        command
    }

    /// Runs the command to its end without input.
    pub(crate) fn run(&self, name: &str, arguments: &[&str]) -> Ran {
        finish(self.command(name, arguments), b"")
    }

    /// Produces lines, which must succeed.
    pub(crate) fn produce(&self, arguments: &[&str], input: &[u8]) -> Ran {
        finish(self.command("produce", arguments), input).success()
    }

    /// What consume prints, which must succeed.
    pub(crate) fn consume(&self, arguments: &[&str]) -> Vec<u8> {
        self.run("consume", arguments).success().stdout
    }

    /// The newest segment file of partition 0.
    pub(crate) fn segment(&self, topic: &str) -> PathBuf {
        let folder = self.path().join(format!("{topic}-0"));
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|ext| ext == "log")).max().unwrap()
    }
}

impl Ran {
    pub(crate) fn success(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self
    }

    /// Asserts the exit code, and that it is told in one line that contains `why`.
    pub(crate) fn fails_with(&self, code: i32, why: &str) {
        assert_eq!(self.code, code, "{}", self.stderr);
        assert!(self.stderr.contains(why), "{why} is not in: {}", self.stderr);
        if code != 64 {
            assert!(self.stderr.starts_with("msglog: "), "{}", self.stderr);
            assert_eq!(self.stderr.trim_end().lines().count(), 1, "{}", self.stderr);
        }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap()
    }
}

/// The command with these arguments.
pub(crate) fn msglog(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_msglog"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command to its end, feeding it `input`.
pub(crate) fn finish(mut command: Command, input: &[u8]) -> Ran {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = thread::scope(|scope| {
        scope.spawn(move || {
            // A command that ends early does not read it all.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().unwrap()
    });
    ran(output)
}

pub(crate) fn ran(output: Output) -> Ran {
    use std::os::unix::process::ExitStatusExt;
    let signal = output.status.signal().map(|signal| -signal);
    Ran {
        code: output.status.code().or(signal).unwrap(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Asks a running command to stop.
pub(crate) fn send_signal(child: &Child, name: &str) {
    let status = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// Bytes that are different each time and the same for one seed.
pub(crate) fn random_bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..count).map(|_| next()).collect()
}

/// Whether a path is there.
pub(crate) fn exists(path: &Path) -> bool {
    path.try_exists().unwrap()
}
