#!/bin/sh
# Runs every fuzz target for some seconds, on the stable toolchain, from its kept corpus.
#
#   scripts/fuzz.sh                  20 seconds for all targets together
#   scripts/fuzz.sh 300              300 seconds for each target
#   scripts/fuzz.sh 300 folder url   only these targets
#   FUZZ_SANITIZER=none ...          without the address sanitizer: builds and runs faster
#   FUZZ_FOLDER=/tmp/f ...           keep what was discovered there (default: a temporary folder)
#
# A finding ends the run with an error; its bytes are kept in fuzz/artifacts/<target>. Minimise it with
# `RUSTC_BOOTSTRAP=1 cargo fuzz tmin <target> <file>`, put it into fuzz/corpus/<target> under a name that
# says what it is, and mend the code: `cargo test` in fuzz/ takes all of the corpus ever after.
case "${1:-}" in -h | --help) sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
set -eu
cd "$(dirname "$0")/../fuzz"
command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked --quiet --debug
all=$(sed -n 's/^name = "\([a-z]*\)"$/\1/p' Cargo.toml)
seconds=${1:-}
[ $# -eq 0 ] || shift
targets=${*:-$all}
# Short: the seconds are shared, rounded up.
[ -n "$seconds" ] || seconds=$(((20 + $(echo "$all" | wc -w) - 1) / $(echo "$all" | wc -w)))
found=${FUZZ_FOLDER:-$(mktemp -d)}
[ -n "${FUZZ_FOLDER:-}" ] || trap 'rm -rf "$found"' EXIT

# What instruments the code is not stable in rustc, so it must be told.
export RUSTC_BOOTSTRAP=1
triple=$(rustc -vV | sed -n 's/^host: //p')
binaries=${CARGO_TARGET_DIR:-target}/$triple/release
cargo fuzz build --sanitizer "${FUZZ_SANITIZER:-address}"
code=0
for target in $targets; do
    mkdir -p "corpus/$target" "artifacts/$target" "$found/$target"
    if "$binaries/$target" "$found/$target" "corpus/$target" -max_total_time="$seconds" -timeout=10 \
        -rss_limit_mb=2048 -max_len=8192 -artifact_prefix="artifacts/$target/" >"$found/log" 2>&1; then
        sed -n "s/^Done \([0-9]*\) runs in \([0-9]*\) second.*/$target: \1 executions in \2 s, nothing found/p" "$found/log"
    else
        tail -40 "$found/log"
        echo "$target: FOUND something, see above and fuzz/artifacts/$target"
        code=1
    fi
done
exit $code
