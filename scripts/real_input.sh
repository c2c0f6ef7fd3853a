#!/usr/bin/env bash
# Real text through `msglog produce --durability sync` and back: same bytes, speed, memory.
set -euo pipefail
if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
  cat <<'HELP'
usage: scripts/real_input.sh [LINES]

Takes all files of /usr/share/doc and /usr/include (or, where there are none, of this
repository), repeated up to LINES lines (default 5000000), produces them into a new fs store
with --durability sync, consumes them, and compares the SHA-256 of both sides.
Fails when they differ or a process needs more than RSS_MAX_MB (default 300).
MSGLOG names the binary (default: built in release mode).
HELP
  exit 0
fi
lines=${1:-5000000}
rss_max=${RSS_MAX_MB:-300}
cd "$(dirname "$0")/.."
if [[ -z "${MSGLOG:-}" ]]; then
  cargo build --release --quiet -p msglog-cli
  MSGLOG=$PWD/${CARGO_TARGET_DIR:-target}/release/msglog
  [[ -x "$MSGLOG" ]] || MSGLOG=${CARGO_TARGET_DIR}/release/msglog
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

find /usr/share/doc /usr/include -type f 2>/dev/null | sort >"$work/files" || true
if [[ ! -s "$work/files" ]]; then
  find "$PWD" -type f -not -path '*/.git/*' -not -path '*/target/*' | sort >"$work/files"
fi

python3 - "$MSGLOG" "$work" "$lines" "$rss_max" <<'PYTHON'
import hashlib, os, subprocess, sys, threading, time

msglog, work, lines, rss_max = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
source = os.path.join(work, "input")


def build_input():
    """The files one after the other, again and again, up to the wanted number of lines."""
    with open(os.path.join(work, "files")) as listing:
        paths = listing.read().splitlines()
    left = lines
    with open(source, "wb") as out:
        while left > 0:
            before = left
            for path in paths:
                try:
                    with open(path, "rb") as file:
                        for line in file:
                            out.write(line if line.endswith(b"\n") else line + b"\n")
                            left -= 1
                            if left == 0:
                                return
                except OSError:
                    continue
            if left == before:
                sys.exit("no line of text was found")


def run(arguments, stdin, hash_output):
    """Runs msglog; answers seconds, peak RSS in MiB, and the SHA-256 of what it printed."""
    started = time.monotonic()
    stdout = subprocess.PIPE if hash_output else subprocess.DEVNULL
    process = subprocess.Popen([msglog, *arguments], stdin=stdin, stdout=stdout)
    digest = hashlib.sha256()
    if hash_output:
        while block := process.stdout.read(1 << 20):
            digest.update(block)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    if status != 0:
        sys.exit(f"msglog {arguments[0]} ended with status {status}")
    return seconds, usage.ru_maxrss / 1024, digest.hexdigest()


build_input()
size = os.path.getsize(source)
with open(source, "rb") as file:
    expected = hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") \
        else hashlib.sha256(file.read()).hexdigest()
url = f"fs://{work}/store"
megabytes = size / 1e6
print(f"input: {lines} lines, {megabytes:.1f} MB, sha256 {expected}")
with open(source, "rb") as file:
    seconds, rss, _ = run(["produce", url, "lines", "--durability", "sync"], file, False)
print(f"produce --durability sync: {seconds:.2f} s, {megabytes / seconds:.1f} MB/s, peak RSS {rss:.0f} MiB")
with open(os.path.join(work, "output"), "wb") as out:
    started = time.monotonic()
    process = subprocess.Popen([msglog, "consume", url, "lines"], stdin=subprocess.DEVNULL, stdout=out)
    _, status, usage = os.wait4(process.pid, 0)
    plain = time.monotonic() - started
if status != 0:
    sys.exit(f"msglog consume ended with status {status}")
consume_rss = usage.ru_maxrss / 1024
print(f"consume to a file: {plain:.2f} s, {megabytes / plain:.1f} MB/s, peak RSS {consume_rss:.0f} MiB")
os.unlink(os.path.join(work, "output"))
_, piped_rss, actual = run(["consume", url, "lines"], subprocess.DEVNULL, True)
print(f"output: sha256 {actual}")
if actual != expected:
    sys.exit("FAILED: the output differs from the input")
if max(rss, consume_rss, piped_rss) > rss_max:
    sys.exit(f"FAILED: more than {rss_max} MiB of memory")
print("same bytes on both sides")
PYTHON
