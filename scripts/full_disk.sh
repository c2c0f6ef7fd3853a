#!/bin/sh
# A full disk, on a small tmpfs: appends answer `storage full` and tear nothing, reads go on, and
# appends are taken again once there is room.
#
#   scripts/full_disk.sh                    builds the command first
#   MSGLOG=target/release/msglog scripts/full_disk.sh
#
# Needs a mount namespace of its own (unshare -Urm); without one it says so and ends with 77.
case "${1:-}" in -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
if [ -z "${MSGLOG:-}" ]; then
    (cd "$root" && cargo build --release --quiet -p msglog-cli)
    MSGLOG=${CARGO_TARGET_DIR:-$root/target}/release/msglog
fi
MSGLOG=$(realpath "$MSGLOG")
if [ "${1:-}" != inside ]; then
    unshare -Urm true 2>/dev/null || { echo "NOT TESTED: no user and mount namespaces"; exit 77; }
    export MSGLOG
    exec unshare -Urm "$0" inside
fi

folder=$(mktemp -d)
mount -t tmpfs -o size=1m tmpfs "$folder"
url="fs://$folder/store?segment_bytes=65536"
fail() { echo "FAILED: $1"; exit 1; }
lines() { "$MSGLOG" consume "$url" lines --format '%s\n'; }

seq 1 1000000 | sed 's/$/ xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx/' >/tmp/full-disk-$$
"$MSGLOG" produce "$url" lines --print-acks --batch-lines 10 </tmp/full-disk-$$ \
    >"$folder.acks" 2>"$folder.error" && fail "a million lines fit in 1 MiB"
grep -q 'storage full' "$folder.error" || fail "the error is: $(cat "$folder.error")"
acked=$(wc -l <"$folder.acks")
[ "$acked" -gt 100 ] || fail "only $acked were acked"
lines >"$folder.there" || fail "reading does not go on"
there=$(wc -l <"$folder.there")
[ "$there" -ge "$acked" ] || fail "$acked were acked, $there are there"
# Behind a refused append, one that was already under way may be taken: only what is acked compares.
head -n "$acked" "$folder.there" >"$folder.first"
head -n "$acked" /tmp/full-disk-$$ | cmp -s - "$folder.first" || fail "what was acked is not there"
echo "full after $acked acked records: storage full, $there there and read, none torn"

# Even with the last byte taken by another, what is there is read, and no append is half there.
cat /dev/zero >"$folder/filler" 2>/dev/null || true
echo late | "$MSGLOG" produce "$url" lines 2>"$folder.error" && fail "an append fits on a full disk"
[ "$(lines | wc -l)" -eq "$there" ] || fail "a refused append has changed what is there"
mount -o remount,size=4m "$folder"
echo late | "$MSGLOG" produce "$url" lines || fail "appends do not resume when there is room"
[ "$(lines | tail -n 1)" = late ] || fail "the record after the full disk is not the last"
echo "with room again the next append is taken; $(lines | wc -l) records"
rm -f "$folder".* /tmp/full-disk-$$
