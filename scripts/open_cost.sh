#!/usr/bin/env bash
# What opening a log costs, after a clean close and after kill -9, at several sizes.
set -euo pipefail
if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
  cat <<'HELP'
usage: scripts/open_cost.sh [GIB]

Grows one log to a quarter, a half and the whole of GIB gibibytes (default 4), and at each size
measures opening: for reading and for writing, after a clean close and after kill -9 of a producer.
Bytes read are the results of all read calls (strace). Fails when opening reads more than 1 MiB
after a clean close, or more than 256 MiB after kill -9: what lies past the last checkpoint, which
depends on the moment of the kill and not on the size of the log.
MSGLOG names the binary (default: built in release mode). FOLDER says where (default: temporary).
HELP
  exit 0
fi
gib=${1:-4}
cd "$(dirname "$0")/.."
if [[ -z "${MSGLOG:-}" ]]; then
  cargo build --release --quiet -p msglog-cli
  MSGLOG=${CARGO_TARGET_DIR:-$PWD/target}/release/msglog
fi
work=$(mktemp -d "${FOLDER:-${TMPDIR:-/tmp}}/msglog-open-XXXXXX")
trap 'rm -rf "$work"' EXIT

python3 - "$MSGLOG" "$work" "$gib" <<'PYTHON'
import os, re, subprocess, sys, time

msglog, work, gib = sys.argv[1], sys.argv[2], float(sys.argv[3])
url = f"fs://{work}/store"
line = b"".join(b"%04d a line of a thousand bytes " % n for n in range(40))[:999] + b"\n"
block = line * 1024
produced = 0


def size():
    folder = os.path.join(work, "store", "lines-0")
    return sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder))


def grow(until, kill):
    """Produces up to so many bytes; then closes, or is killed while its input is still open."""
    global produced
    process = subprocess.Popen([msglog, "produce", url, "lines", "--print-acks"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    sent = 0
    import threading
    acked = [0]

    def count():
        for chunk in iter(lambda: process.stdout.read1(1 << 16), b""):
            acked[0] += chunk.count(b"\n")
    reader = threading.Thread(target=count)
    reader.start()
    while produced < until:
        process.stdin.write(block)
        sent += 1024
        produced += len(block)
    process.stdin.flush()
    if kill:
        while acked[0] < sent:
            time.sleep(0.01)
        process.kill()
    else:
        process.stdin.close()
    process.wait()
    reader.join()


def measure(arguments):
    """Seconds of a plain run, and the bytes that a traced run reads."""
    started = time.monotonic()
    subprocess.run([msglog, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - started


def traced(arguments):
    trace = os.path.join(work, "trace")
    subprocess.run(["strace", "-f", "-qq", "-e", "trace=read,pread64,readv,preadv", "-o", trace, msglog, *arguments],
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    with open(trace) as lines:
        calls = [int(found[1]) for text in lines if (found := re.search(r"= (\d+)$", text))]
    os.unlink(trace)
    return sum(calls)


READ = ["describe", url, "lines"]
WRITE = ["produce", url, "lines"]
print("log size   closed by   opened for   seconds   bytes read", flush=True)
LIMITS = {"close": 1 << 20, "kill -9": 256 << 20}
failed = False
for share in (0.25, 0.5, 1.0):
    target = int(gib * share * (1 << 30))
    for how in ("close", "kill -9"):
        # The last 64 MiB come after the previous measurement, so that a kill leaves work.
        grow(target - (64 << 20) if how == "close" else target, how == "kill -9")
        rows = [("reading", READ, traced(READ), measure(READ))]
        # Opening for writing recovers, so it comes last; the time is that of the run that recovers.
        started = time.monotonic()
        read = traced(WRITE) if how == "kill -9" else None
        if read is None:
            seconds, read = measure(WRITE), traced(WRITE)
        else:
            seconds = time.monotonic() - started
        rows.append(("writing", WRITE, read, seconds))
        for name, _, read, seconds in rows:
            print(f"{size() / (1 << 30):5.2f} GiB  {how:10}  {name:10}  {seconds:8.3f}  {read:11,}", flush=True)
            failed |= read > LIMITS[how]
if failed:
    sys.exit("FAILED: opening reads too much")
print("what opening reads does not grow with the log")
PYTHON
