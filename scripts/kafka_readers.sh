#!/usr/bin/env bash
# Another implementation of Kafka's record format, kafka-python, reads what msglog wrote.
set -euo pipefail
if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
  cat <<'HELP'
usage: scripts/kafka_readers.sh

Writes a topic with each of the five codecs, lets kafka-python's MemoryRecords read every segment
file of the partition folder, and compares MSNs, timestamps, keys, payloads and headers with
`msglog consume -o json`. Then the same of a log whose producer was killed, zero-filled end and all.
Installs kafka-python and its codecs into a virtual environment under target/.
MSGLOG names the binary (default: built in release mode).
HELP
  exit 0
fi
cd "$(dirname "$0")/.."
if [[ -z "${MSGLOG:-}" ]]; then
  cargo build --release --quiet -p msglog-cli
  MSGLOG=${CARGO_TARGET_DIR:-$PWD/target}/release/msglog
fi
venv=${CARGO_TARGET_DIR:-target}/kafka-python
if ! "$venv/bin/python" -c 'import kafka, snappy, lz4, zstandard' 2>/dev/null; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet kafka-python==3.0.12 python-snappy lz4 zstandard
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$venv/bin/python" - "$MSGLOG" "$work" <<'PYTHON'
import base64, glob, json, random, struct, subprocess, sys

from kafka.record.memory_records import MemoryRecords

msglog, work = sys.argv[1], sys.argv[2]
seed = random.randrange(1 << 32)
rng = random.Random(seed)
print(f"seed {seed}")


def field(name, value):
    if value is None:
        return {name: None}
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {name + "_base64": base64.b64encode(value).decode()}


def some_bytes():
    return rng.choice([None, b"", b"text", "\u00e9\u0000".encode(), rng.randbytes(rng.randrange(1, 200)), b"again " * 50])


def sample(number):
    headers = [{"name": rng.choice(["a", "b", ""]), **field("value", some_bytes())} for _ in range(rng.randrange(4))]
    return {"timestamp": 1_700_000_000_000 + rng.randrange(-5000, 5000) + number,
            **field("key", some_bytes()), **field("payload", some_bytes()), "headers": headers}


def batches(data):
    """Cuts a segment at its batch lengths; zeros up to the end are space prepared ahead."""
    place = 0
    while len(data) - place > 12:
        length = struct.unpack_from(">i", data, place + 8)[0] + 12
        if length == 12:
            assert not any(data[place:]), "bytes after the last batch that are not zero"
            return
        yield data[place:place + length]
        place += length


def kafka_records(folder):
    for path in sorted(glob.glob(f"{folder}/*.log")):
        with open(path, "rb") as file:
            data = file.read()
        for batch in batches(data):
            records = MemoryRecords(batch)
            while (next_batch := records.next_batch()) is not None:
                assert next_batch.validate_crc(), "the CRC does not match"
                for record in next_batch:
                    yield {"partition": 0, "msn": record.offset, "timestamp": record.timestamp,
                           **field("key", record.key), **field("payload", record.value),
                           "headers": [{"name": name, **field("value", value)} for name, value in record.headers]}


def compare(topic, wanted):
    url = f"fs://{work}/store"
    ours = subprocess.run([msglog, "consume", url, topic, "-o", "json"], stdout=subprocess.PIPE, check=True).stdout
    ours = [json.loads(line) for line in ours.splitlines()]
    theirs = list(kafka_records(f"{work}/store/{topic}-0"))
    if ours != theirs:
        place = next((n for n, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
        sys.exit(f"FAILED: {topic}: {len(ours)} and {len(theirs)} records, different from number {place} on:\n"
                 f"{ours[place:place + 1]}\n{theirs[place:place + 1]}")
    if len(ours) != wanted:
        sys.exit(f"FAILED: {topic}: {len(ours)} records instead of {wanted}")
    print(f"{topic}: kafka-python reads the same {len(theirs)} records")


COUNT = 20_000
for codec in ("none", "lz4", "zstd", "snappy", "gzip"):
    lines = "".join(json.dumps(sample(n)) + "\n" for n in range(COUNT)).encode()
    # Small segments, so that there are several files.
    url = f"fs://{work}/store?segment_bytes=1048576"
    subprocess.run([msglog, "produce", url, codec, "--json", "--compression", codec, "--batch-lines",
                    str(rng.choice([1, 100, 1000]))], input=lines, check=True)
    compare(codec, COUNT)

process = subprocess.Popen([msglog, "produce", f"fs://{work}/store", "killed", "--print-acks"],
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE)
process.stdin.write(b"a line\n" * 1000)
process.stdin.flush()
for _ in range(1000):
    process.stdout.readline()
process.kill()
process.wait()
compare("killed", 1000)
PYTHON
