#!/bin/sh
# Branch coverage of the code of msglog-fs that opens, checks and recovers, by the tests of msglog-fs.
# Prints every line that no test reaches and every branch with a side that is never taken, then sums by file.
#
#   scripts/coverage.sh                  the files of recovery
#   scripts/coverage.sh reader writer    those files of backends/fs/src
#   COVERAGE_FOLDER=/tmp/c ...           where builds and profiles go (kept; default: a temporary folder)
#
# Needs llvm-profdata and llvm-cov of the LLVM that rustc has; they are installed where that is allowed.
case "${1:-}" in -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
set -eu
cd "$(dirname "$0")/.."
folder=${COVERAGE_FOLDER:-$(mktemp -d)}
[ -n "${COVERAGE_FOLDER:-}" ] || trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder"
rm -f "$folder"/*.profraw
[ $# -gt 0 ] || set -- checkpoint folder manifest opening place quarantine recovery resync scan survey swap truncate
# Those that recover something, without the sweep of all faults, which is slow when it is counted.
tests=$(cd backends/fs/tests && ls ./*.rs | sed -n 's|^\./\(.*\)\.rs$|--test \1|p' | grep -v -E 'conformance|faults|allocations')

major=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
tools() {
    for place in "$(rustc --print sysroot)"/lib/rustlib/*/bin "/usr/lib/llvm-$major/bin"; do
        [ -x "$place/llvm-cov" ] && [ -x "$place/llvm-profdata" ] && echo "$place" && return
    done
    return 1
}
if ! bin=$(tools); then
    rustup component add llvm-tools 2>/dev/null ||
        { [ "$(id -u)" = 0 ] && apt-get install -y -qq --no-install-recommends "llvm-$major" >/dev/null; } ||
        { echo "please install first: llvm-$major, or llvm-tools of the toolchain" >&2; exit 1; }
    bin=$(tools)
fi

# Only the crate itself counts; branches need the compiler's leave.
cat >"$folder/rustc" <<'END'
#!/bin/sh
case " $* " in
    *" --crate-name msglog_fs "*)
        RUSTC_BOOTSTRAP=1 exec "$@" -C instrument-coverage -Z coverage-options=branch ;;
    *" --test "*) exec "$@" -C link-arg=-Wl,-u,__llvm_profile_runtime ;;
    *) exec "$@" ;;
esac
END
chmod +x "$folder/rustc"
export RUSTC_WORKSPACE_WRAPPER="$folder/rustc" CARGO_TARGET_DIR="$folder/target"
export LLVM_PROFILE_FILE="$folder/%p-%m.profraw"
quietly() { "$@" >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }; }
# shellcheck disable=SC2086
quietly cargo test -p msglog-fs --lib $tests --no-run --message-format=json
objects=$(sed -n 's/.*"executable":"\([^"]*\)".*/-object \1/p' "$folder/log" | tr '\n' ' ')
# shellcheck disable=SC2086
quietly cargo test -q -p msglog-fs --lib $tests
"$bin/llvm-profdata" merge -sparse "$folder"/*.profraw -o "$folder/all.profdata"
sources=$(for name; do echo "$PWD/backends/fs/src/$name.rs"; done)
# shellcheck disable=SC2086
"$bin/llvm-cov" export -format=lcov $objects -instr-profile="$folder/all.profdata" -sources $sources \
    >"$folder/lcov" 2>"$folder/log" || { cat "$folder/log"; exit 1; }

# The code under test alone: what follows `mod tests` in a file is not.
awk -v root="$PWD/" '
    function sum(what, lines, reached, branches, taken) {
        printf "%-40s lines %4d of %4d, branches %4d of %4d\n", what, reached, lines, taken, branches
    }
    /^SF:/ {
        file = substr($0, 4); end = 1e9; number = 0
        while ((getline line < file) > 0) { number++; if (line ~ /^mod tests/) end = number }
        close(file); sub(root, "", file); files[++count] = file
    }
    /^DA:/ {
        split(substr($0, 4), part, ",")
        if (part[1] + 0 < end) {
            lines[file]++
            if (part[2] > 0) reached[file]++; else print file ":" part[1] ": not reached"
        }
    }
    /^BRDA:/ {
        split(substr($0, 6), part, ",")
        if (part[1] + 0 < end) {
            branches[file]++
            if (part[4] != "-" && part[4] > 0) taken[file]++
            else if (part[4] == "0") print file ":" part[1] ": a side is never taken"
        }
    }
    END {
        for (i = 1; i <= count; i++) {
            f = files[i]; sum(f, lines[f], reached[f], branches[f], taken[f])
            l += lines[f]; r += reached[f]; b += branches[f]; t += taken[f]
        }
        sum("all", l, r, b, t)
    }
' "$folder/lcov"
