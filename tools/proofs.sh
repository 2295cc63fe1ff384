#!/usr/bin/env bash
# The proofs of the rings that need a build of their own.
#
#   tools/proofs.sh loom              every interleaving of the models, about 5 s
#   tools/proofs.sh asan              ringbuf's tests under AddressSanitizer, about 1 min
#   tools/proofs.sh fuzz [SECONDS]    each fuzz target for so long, 60 s unless said otherwise
#
# Times are without the build. Sanitizers need features that are not stable; RUSTC_BOOTSTRAP lets the
# installed toolchain use them.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly CARGO_FUZZ_VERSION=0.13.2

usage() { sed -n '2,9s/^# \{0,1\}//p' "$0"; }

loom() {
  RUSTFLAGS="--cfg loom" cargo test -p ipc-ringbuf --test loom --release --target-dir target/loom
}

asan() {
  # A target is named so that build scripts and macros are built without the sanitizer.
  RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" ASAN_OPTIONS=detect_leaks=1 \
    cargo test -p ipc-ringbuf --all-features --lib --tests \
    --target x86_64-unknown-linux-gnu --target-dir target/asan
}

fuzz() {
  local seconds=${1:-60}
  if ! [[ "$seconds" =~ ^[0-9]+$ ]]; then
    echo "proofs.sh: '$seconds' is no number of seconds: say for example 'fuzz 60'" >&2
    exit 2
  fi
  if ! command -v cargo-fuzz >/dev/null; then
    cargo install cargo-fuzz --locked --version "$CARGO_FUZZ_VERSION"
  fi
  export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$PWD/target/fuzz"
  cd ringbuf
  for target in $(cargo fuzz list); do
    echo "-- $target for $seconds s"
    # An input that takes 10 s is a hang, and a finding.
    cargo fuzz run "$target" -- -max_total_time="$seconds" -timeout=10 \
      -print_final_stats=1 -verbosity=0
  done
}

trap 'printf "proofs.sh: %s s, exit %s\n" "$SECONDS" "$?" >&2' EXIT

case "${1:-}" in
  loom) loom ;;
  asan) asan ;;
  fuzz) fuzz "${2:-60}" ;;
  --help | -h)
    trap - EXIT
    usage
    ;;
  *)
    trap - EXIT
    usage >&2
    exit 2
    ;;
esac
