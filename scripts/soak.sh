#!/usr/bin/env bash
# Looks for what one seed does not show: the conformance suite on the stores of this machine, and
# the property tests of core, each with many seeds. Continuous integration has one seed.
#
#   scripts/soak.sh 20          seeds 1 to 20
#   scripts/soak.sh 20 100      seeds 100 to 119
#   PACKAGES=msglog-sled scripts/soak.sh 20 1 power     only these, with arguments of the suite
set -euo pipefail
case "${1:-}" in -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
cd "$(dirname "$0")/.."
rounds=${1:-10} first=${2:-1}
shift $(($# < 2 ? $# : 2))
read -r -a packages <<<"${PACKAGES:-msglog-fs msglog-rocksdb msglog-sled msglog-object-store msglog-memory msglog-core}"

records=$(mktemp -d)
trap 'rm -rf "$records"' EXIT
export MSGLOG_CONFORMANCE_RECORDS=$records
failed=()
for ((seed = first; seed < first + rounds; seed++)); do
  for package in "${packages[@]}"; do
    # Of core the property tests; of a store the suites, each a test named after conformance.
    case $package in
      msglog-core) tests=(--test 'batch_*') arguments=() ;;
      *) tests=(--test 'conformance*') arguments=("$@") ;;
    esac
    if ! MSGLOG_CONFORMANCE_SEED=$seed PROPTEST_RNG_SEED=$seed \
      scripts/test.sh -q -p "$package" "${tests[@]}" -- "${arguments[@]}" >"$records/out" 2>&1; then
      failed+=("$package with seed $seed")
      grep -A 4 -E '^---- |^error|panicked' "$records/out" || tail -n 20 "$records/out"
    fi
    echo "seed $seed: $package, ${#failed[@]} failed so far (${SECONDS}s)"
  done
done
((${#failed[@]} == 0)) || printf 'failed: %s\n' "${failed[@]}"
echo "$rounds seeds, ${#packages[@]} packages, ${#failed[@]} failed"
((${#failed[@]} == 0))
