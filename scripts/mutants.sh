#!/bin/sh
# Applies each mutant of backends/fs/tests/mutants to a copy of the tree and runs the tests that its
# patch names, until one fails. Prints which test killed it, and how many of all are killed.
#
#   scripts/mutants.sh             all of them
#   scripts/mutants.sh trim cut    those whose name contains one of these words
#   MUTANTS_FOLDER=/tmp/m ...      where the copy and its build go (kept; default: a temporary folder)
case "${1:-}" in -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
folder=${MUTANTS_FOLDER:-$(mktemp -d)}
[ -n "${MUTANTS_FOLDER:-}" ] || trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/tree"
export CARGO_TARGET_DIR="$folder/target" CARGO_INCREMENTAL=0 RUST_BACKTRACE=0

fresh() {
    (cd "$root" && git ls-files -z | tar --null -T - -cf -) | (cd "$folder/tree" && tar -xf -)
}
wanted() {
    [ $# -gt 1 ] || return 0
    name=$1; shift
    for word; do case "$name" in *"$word"*) return 0 ;; esac; done
    return 1
}

all=0 killed=0 survivors=
for patch in "$root"/backends/fs/tests/mutants/*.patch; do
    name=$(basename "$patch" .patch)
    wanted "$name" "$@" || continue
    all=$((all + 1))
    fresh
    # What the last mutant changed is as old as before: cargo would not see that it is whole again.
    for file in ${changed:-}; do touch "$folder/tree/$file"; done
    changed=$(sed -n 's/^--- a\///p' "$patch")
    (cd "$folder/tree" && patch -s -p1 <"$patch")
    tests=$(sed -n 's/^killed by: //p' "$patch")
    by=
    for named in $tests; do
        # [package/]test[:filter]
        test=${named%%:*} package=msglog-fs filter=
        case "$named" in *:*) filter=${named#*:} ;; esac
        case "$test" in */*) package=${test%/*} test=${test#*/} ;; esac
        # A mutant that does not compile is no mutant.
        (cd "$folder/tree" && cargo test -q -p "$package" --test "$test" --no-run) \
            >"$folder/log" 2>&1 || { cat "$folder/log"; echo "$name does not compile"; break; }
        (cd "$folder/tree" && timeout 300 cargo test -q -p "$package" --test "$test" -- $filter) \
            >"$folder/log" 2>&1 && continue
        by="$test::$(sed -n 's/^---- \([a-z_\/-]*\) .*----$/\1/p' "$folder/log" | head -1)"
        break
    done
    if [ -n "$by" ]; then
        killed=$((killed + 1))
        echo "killed    $name by $by"
    else
        survivors="$survivors $name"
        echo "SURVIVED  $name: $(head -1 "$patch")"
    fi
done
echo "$killed of $all killed"
[ -z "$survivors" ]
