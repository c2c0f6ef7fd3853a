#!/bin/sh
# Do the tests find broken code? Applies each patch of backends/fs/tests/mutants to a copy of the tree
# and runs the tests that the patch names until one fails; where none does, the others of the package, to
# find one to be named. First the named tests must pass without a patch. The last line is
# `N of N killed`; a mutant that survives, does not compile or no longer applies is an error.
#
#   scripts/mutants.sh             all of them
#   scripts/mutants.sh trim cut    those whose name contains one of these words
#   MUTANTS_FOLDER=/tmp/m ...      where the copy and its build go (kept; default: a temporary folder)
case "${1:-}" in -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
folder=${MUTANTS_FOLDER:-$(mktemp -d)}
[ -n "${MUTANTS_FOLDER:-}" ] || trap 'rm -rf "$folder"' EXIT
. "$root/scripts/mutant_bank.sh"
# One build for all: only what a patch changes is compiled again.
export CARGO_TARGET_DIR="$folder/target" CARGO_INCREMENTAL=1 CARGO_PROFILE_DEV_DEBUG=0
# The time limits of the suite are no reason to fail on a busy machine.
export MSGLOG_CONFORMANCE_PATIENCE=10 RUST_BACKTRACE=0
export MSGLOG_SWEEP_STRIDE="${MSGLOG_SWEEP_STRIDE:-11}"
# What hangs has failed.
seconds_max=300

# A test as patches name it, [package/]test[:filter], as arguments of cargo, and its filter.
parse() {
    test=${1%%:*} package=msglog-fs filter=
    case "$1" in *:*) filter=${1#*:} ;; esac
    case "$test" in */*) package=${test%/*} test=${test#*/} ;; esac
    target="--test $test"
    [ "$test" != lib ] || target=--lib
}
compiles() {
    parse "$1"
    (cd "$folder/tree" && cargo test -q -p "$package" $target --no-run) >"$folder/log" 2>&1
}
passes() {
    parse "$1"
    (cd "$folder/tree" && timeout "$seconds_max" cargo test -q -p "$package" $target -- $filter) \
        >"$folder/log" 2>&1
}
# Which test has failed.
failed() {
    found=$(sed -n 's/^---- \([a-z0-9_:\/-]*\) .*----$/\1/p' "$folder/log" | head -n 1)
    echo "${found:-no answer within $seconds_max s}"
}

bank_open
patches=$(bank_patches "$root/backends/fs/tests/mutants" "$@")
tests=$(for patch in $patches; do sed -n 's/^killed by: //p' "$patch"; done | tr ' ' '\n' | sort -u)
for named in $tests; do
    compiles "$named" && passes "$named" && continue
    cat "$folder/log"
    echo "ERROR     $named fails without a mutant"
    exit 1
done
echo "$(echo "$tests" | wc -w) tests are named, and pass without a mutant"

for patch in $patches; do
    bank_apply "$patch" || continue
    by=
    for named in $(sed -n 's/^killed by: //p' "$patch"); do
        # A mutant that does not compile is no mutant.
        if ! compiles "$named"; then
            cat "$folder/log"
            echo "ERROR     $name does not compile"
            continue 2
        fi
        passes "$named" && continue
        by="$named: $(failed)"
        break
    done
    if [ -n "$by" ]; then
        bank_kill "$by"
        continue
    fi
    bank_survived "$patch"
    # Nobody has seen these pass: a failure is a hint.
    (cd "$folder/tree" && timeout 1800 cargo test -q -p msglog-fs) >"$folder/log" 2>&1 \
        || echo "          another test fails: $(failed)"
done
bank_close
