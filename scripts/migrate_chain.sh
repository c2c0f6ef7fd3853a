#!/usr/bin/env bash
# One log through every store by `msglog migrate`, killed once in each step: equal digests at the end.
set -euo pipefail
if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
  cat <<'HELP'
usage: scripts/migrate_chain.sh [RECORDS=1000000]

Migrates fs -> rocksdb -> object storage -> sled -> fs, with kill -9 in the middle of each step and
one resumption, and compares the digests that --verify prints of every step: MSNs, timestamps,
keys, payloads and headers of all records. Object storage is MSGLOG_TEST_S3_URL when that is set,
else a folder (file+object). Stores that the binary was built without are left out, and said so.
MSGLOG names the binary (default: built in release mode with the features FEATURES, by default
sled,object-store; rocksdb needs a C++ compiler and libclang). FOLDER says where (default: temporary).
HELP
  exit 0
fi
records=${1:-1000000}
cd "$(dirname "$0")/.."
if [[ -z "${MSGLOG:-}" ]]; then
  cargo build --release --quiet -p msglog-cli --features "${FEATURES:-sled,object-store}"
  MSGLOG=${CARGO_TARGET_DIR:-$PWD/target}/release/msglog
fi
work=$(mktemp -d "${FOLDER:-${TMPDIR:-/tmp}}/msglog-migrate-XXXXXX")
trap 'rm -rf "$work"' EXIT

python3 - "$MSGLOG" "$work" "$records" <<'PYTHON'
import json, os, subprocess, sys, time

msglog, work, records = sys.argv[1], sys.argv[2], int(sys.argv[3])
failed = False


def run(*arguments):
    done = subprocess.run([msglog, *arguments], capture_output=True)
    if done.returncode:
        sys.exit(f"FAILED: {' '.join(arguments)}: {done.stderr.decode().strip()}")
    return done.stdout


def is_built(scheme):
    """A store that is not built names its cargo feature."""
    done = subprocess.run([msglog, "topics", f"{scheme}:///nonexistent"], capture_output=True)
    return b"cargo feature" not in done.stderr


def produce(url):
    arguments = [msglog, "produce", url, "lines", "--json", "--partitions", "3"]
    producer = subprocess.Popen(arguments + ["--compression", "lz4"], stdin=subprocess.PIPE)
    for n in range(records):
        record = {
            "timestamp": 1_700_000_000_000 + n * 7 % 1000,
            "key": f"key {n % 1000}",
            "payload": f"record {n} of some hundred bytes " + "%060x" % (n * 2654435761 % 2**200),
            "headers": [{"name": "n", "value": str(n)}],
        }
        producer.stdin.write(json.dumps(record).encode() + b"\n")
    producer.stdin.close()
    if producer.wait():
        sys.exit("FAILED: produce")


def resumed_in_the_middle(summary):
    """Whether a run found some of the records there, but not all."""
    return any(p["resumed_at"] > p["first_msn"] for p in summary["partitions"]) and summary["records"]


def killed_step(source, destination):
    """Migrates with one kill -9 in the middle; answers what the resumed run says of it."""
    arguments = [msglog, "migrate", source, destination, "-o", "json"]
    delay = float(os.environ.get("KILL_AFTER", "0.05"))
    for attempt in range(40):
        migration = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(delay)
        was_killed = migration.poll() is None
        migration.kill()
        out, error = migration.communicate()
        if not was_killed:
            if migration.returncode:
                sys.exit(f"FAILED: {source} -> {destination}: {error.decode().strip()}")
            return attempt, None
        there = subprocess.run([msglog, "topics", destination, "-o", "json"], capture_output=True)
        copied = json.loads(there.stdout)[0]["records"] if there.stdout.startswith(b"[{") else 0
        if copied:
            return attempt + 1, copied
        # Too early: nothing was there yet.
        delay *= 1.4
    sys.exit("FAILED: never killed in the middle")


steps = [("fs", f"fs://{work}/first")]
objects = os.environ.get("MSGLOG_TEST_S3_URL")
place, _, query = (objects or "").partition("?")
s3 = f"{place.rstrip('/')}/migrate-{os.getpid()}" + (f"?{query}" if query else "")
for scheme, url in [
    ("rocksdb", f"rocksdb://{work}/rocksdb"),
    ("s3", s3) if objects else ("file+object", f"file+object://{work}/objects"),
    ("sled", f"sled://{work}/sled"),
]:
    if is_built(scheme):
        steps.append((scheme, url))
    else:
        print(f"left out: {scheme}, which this binary was built without")
steps.append(("fs", f"fs://{work}/last"))

begun = time.monotonic()
produce(steps[0][1])
print(f"{records} records in {time.monotonic() - begun:.1f} s")
digests = set()
for (source, source_url), (destination, destination_url) in zip(steps, steps[1:]):
    begun = time.monotonic()
    kills, copied = killed_step(source_url, destination_url)
    summary = json.loads(run("migrate", source_url, destination_url, "-o", "json"))
    seconds = time.monotonic() - begun
    verified = json.loads(run("migrate", source_url, destination_url, "--verify", "-o", "json"))
    same = [partition["verified"] for partition in verified["partitions"]]
    digests.add(tuple(one["digest"] for one in same))
    count = sum(one["records"] for one in same)
    line = f"{source} -> {destination}: killed {kills} times, the last time with {copied} records"
    line += f" there; {summary['records']} more, {seconds:.1f} s; {count} records verified"
    if count != records or copied is None or not resumed_in_the_middle(summary):
        line, failed = line + "  FAILED", True
    print(line, flush=True)
for name, digest in enumerate(sorted(digests)[0]):
    print(f"partition {name}: {digest}")
first, last = (run("consume", url, "lines", "-o", "json") for _, url in (steps[0], steps[-1]))
if len(digests) != 1 or first != last:
    print("FAILED: the digests differ")
    failed = True
print("FAILED" if failed else "ok: all digests are equal, and so is what consume prints")
sys.exit(failed)
PYTHON
