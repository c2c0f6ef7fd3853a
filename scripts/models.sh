#!/bin/sh
# Runs the models of the log's concurrent parts (core/src/log/models.rs) under the model checker shuttle.
#
#   scripts/models.sh                     each model in 1,000 orders of its steps
#   MSGLOG_SCHEDULES=50000 scripts/models.sh
#   scripts/models.sh mutants [word...]   applies each patch of core/tests/mutants (or those whose name
#                                         contains a word) to a copy: a model that it names must fail
#   MODELS_FOLDER=/tmp/m ...              where that copy goes (kept; default: a temporary folder)
case "${1:-}" in -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
# A target folder of its own: the flag would make cargo build everything else anew.
target=${CARGO_TARGET_DIR:-$root/target}/shuttle
models() {
    RUSTFLAGS="--cfg shuttle" CARGO_PROFILE_DEV_DEBUG=0 cargo test -q -p msglog-core \
        --no-default-features --lib --target-dir "$target" "$@"
}
if [ "${1:-}" != mutants ]; then
    cd "$root"
    models models
    exit
fi
shift
# Another one: cargo tells a copy of the tree from the tree by the times of files only.
target=$target-mutants
folder=${MODELS_FOLDER:-$(mktemp -d)}
[ -n "${MODELS_FOLDER:-}" ] || trap 'rm -rf "$folder"' EXIT
. "$root/scripts/mutant_bank.sh"
bank_open
for patch in $(bank_patches "$root/core/tests/mutants" "$@"); do
    bank_apply "$patch" || continue
    cd "$folder/tree"
    # A mutant that does not compile is no mutant.
    if ! models --no-run >"$folder/log" 2>&1; then
        cat "$folder/log"
        echo "ERROR     $name does not compile"
        continue
    fi
    by=
    for model in $(sed -n 's/^killed by: //p' "$patch"); do
        models "models::$model" >"$folder/log" 2>&1 && continue
        by=$model
        break
    done
    if [ -n "$by" ]; then bank_kill "$by"; else bank_survived "$patch"; fi
done
bank_close
