#!/usr/bin/env bash
# Runs every test. Installs the system packages that this needs where it may, else says which.
#
#   scripts/test.sh                        all tests; stores on S3 and Azure are shown as unavailable
#   scripts/services.sh scripts/test.sh    those too, on servers that are started for it
set -euo pipefail
cd "$(dirname "$0")/.."

packages=()
command -v cc >/dev/null || packages+=(gcc libc6-dev)
command -v c++ >/dev/null || packages+=(g++)
command -v strace >/dev/null || packages+=(strace) # the sync audit of the conformance suite
# rocksdb is built with bindgen, which loads libclang.
has_libclang() {
  [ -n "${LIBCLANG_PATH:-}" ] || compgen -G '/usr/lib/llvm-*/lib/libclang.so*' ||
    compgen -G '/usr/lib/*/libclang-[0-9]*.so*' || compgen -G '/usr/lib*/libclang.so*'
}
has_libclang >/dev/null || packages+=(libclang-dev)
if ((${#packages[@]})); then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
  else
    echo "please install first: ${packages[*]} (Debian's names)" >&2
    exit 1
  fi
fi

# Arguments are those of `cargo test`; with a package among them only that one is tested.
case " $* " in
  *' -p '*) cargo test --all-features "$@" ;;
  *) cargo test --workspace --all-features "$@" ;;
esac
