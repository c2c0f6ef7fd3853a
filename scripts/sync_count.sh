#!/usr/bin/env bash
# How many syncs 64 tasks need that append at `Sync`: counted by strace, from outside.
set -euo pipefail
if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
  echo 'usage: scripts/sync_count.sh

Runs the example group_commit (64 tasks, each waiting for every ack) under strace and counts
fdatasync calls. Fails unless there are at most a tenth as many as appends.'
  exit 0
fi
cd "$(dirname "$0")/.."
cargo build --release --quiet -p msglog --example group_commit
binary=${CARGO_TARGET_DIR:-target}/release/examples/group_commit
trace=$(mktemp)
trap 'rm -f "$trace"' EXIT
strace -f -qq -e trace=fdatasync,fsync -o "$trace" "$binary" | tee "$trace.out"
appends=$(awk '$1 == "appends" && NF == 2 { print $2 }' "$trace.out")
rm -f "$trace.out"
# A call that another thread interrupts is printed twice, resumed the second time.
fdatasyncs=$(grep -c 'fdatasync(' "$trace" || true)
fsyncs=$(grep -c ' fsync(' "$trace" || true)
echo "strace: $fdatasyncs fdatasync and $fsyncs fsync calls for $appends appends"
if ((fdatasyncs == 0 || fdatasyncs * 10 > appends)); then
  echo 'FAILED: expected some, and at most one fdatasync for ten appends'
  exit 1
fi
