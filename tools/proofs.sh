#!/usr/bin/env bash
# The proofs that need a build of their own. asan-gateway and valgrind need NATS_SERVER or nats-server
# in PATH, and valgrind (Debian package of that name).
#
#   tools/proofs.sh loom              every interleaving of the models, about 5 s
#   tools/proofs.sh asan              ringbuf's tests under AddressSanitizer, about 1 min
#   tools/proofs.sh tsan              ringbuf's tests under ThreadSanitizer, about 1 min
#   tools/proofs.sh asan-gateway      the gateway under AddressSanitizer, with every kind of fault
#   tools/proofs.sh valgrind          the gateway under valgrind, with every kind of fault
#   tools/proofs.sh fuzz [SECONDS]    each fuzz target for so long, 60 s unless said otherwise
#
# Times are without the build. Sanitizers need features that are not stable; RUSTC_BOOTSTRAP lets the
# installed toolchain use them.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly CARGO_FUZZ_VERSION=0.13.2

usage() { sed -n '2,14s/^# \{0,1\}//p' "$0"; }

loom() {
  RUSTFLAGS="--cfg loom" cargo test -p ipc-ringbuf --test loom --release --target-dir target/loom
}

asan() {
  # A target is named so that build scripts and macros are built without the sanitizer.
  RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" ASAN_OPTIONS=detect_leaks=1 \
    cargo test -p ipc-ringbuf --all-features --lib --tests \
    --target x86_64-unknown-linux-gnu --target-dir target/asan
}

# The standard library is not built for the sanitizer, whose sources the toolchain does not have: what
# it does about that in the test harness is suppressed. The gateway is left out, since the last drop of
# every `Arc` would be such a false alarm.
tsan() {
  # The two tests that are left out are of threads that wait for one lock of the standard library, which
  # is not instrumented where it waits: all that it guards would be reported. What they run is safe code.
  local suppressions=$PWD/target/tsan.suppressions
  mkdir -p target
  printf '%s\n' 'race:Channel<test::event::CompletedTest>' 'race:Option<test::run_test::' >"$suppressions"
  RUSTC_BOOTSTRAP=1 RUST_TEST_THREADS=1 PROPTEST_CASES=${PROPTEST_CASES:-16} \
    RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" \
    TSAN_OPTIONS="suppressions=$suppressions" \
    cargo test -p ipc-ringbuf --all-features --lib --tests \
    --target x86_64-unknown-linux-gnu --target-dir target/tsan -- \
    --skip shared::nobody_waits --skip shared::those_who_wait
  # What is suppressed must not hide a race in a test.
  cat >target/planted.rs <<'RUST'
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

#[test]
fn race() {
    static mut COUNT: u64 = 0;
    static READY: AtomicU32 = AtomicU32::new(0);
    // Both at the same time, and nothing orders them: relaxed operations do not. Not for long, or the
    // sanitizer has forgotten by what stack it came to the other access, and reports nothing.
    let add = || {
        READY.fetch_add(1, Relaxed);
        while READY.load(Relaxed) < 2 {}
        (0..1_000).for_each(|_| unsafe { COUNT += 1 });
    };
    let other = std::thread::spawn(add);
    add();
    other.join().unwrap();
}
RUST
  RUSTC_BOOTSTRAP=1 rustc --test -Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer \
    --target x86_64-unknown-linux-gnu -o target/planted target/planted.rs
  if TSAN_OPTIONS="suppressions=$suppressions" target/planted >/dev/null 2>&1; then
    echo "proofs.sh: a planted race was not reported" >&2
    exit 1
  fi
}

# Runs the test with every kind of fault against this gateway.
with_faults() {
  IPCGW_TEST_GATEWAY=$1 cargo test --workspace --all-features --test tests -- --exact --nocapture \
    faults::everything::a_run_with_every_kind_of_fault_ends_clean
}

asan_gateway() {
  RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" \
    cargo build -p ipc-gateway --bin ipc-gateway --no-default-features \
    --target x86_64-unknown-linux-gnu --target-dir target/asan
  ASAN_OPTIONS=detect_leaks=1 with_faults "$PWD/target/asan/x86_64-unknown-linux-gnu/debug/ipc-gateway"
}

# The report of the run, which must be there, is printed.
valgrind_gateway() {
  if ! command -v valgrind >/dev/null; then
    echo "proofs.sh: no valgrind: install the Debian package valgrind" >&2
    exit 1
  fi
  cargo build -p ipc-gateway --bin ipc-gateway --no-default-features
  mkdir -p target/valgrind
  cp target/debug/ipc-gateway target/valgrind/ipc-gateway
  local wrapper=$PWD/target/valgrind/gateway report=$PWD/target/valgrind/report
  rm -f "$report"
  printf '#!/bin/sh\nexec valgrind --error-exitcode=99 --leak-check=full \\\n' >"$wrapper"
  printf '  --errors-for-leak-kinds=definite --show-leak-kinds=definite --log-file=%s \\\n' "$report" \
    >>"$wrapper"
  printf '  %s "$@"\n' "$PWD/target/valgrind/ipc-gateway" >>"$wrapper"
  chmod +x "$wrapper"
  with_faults "$wrapper"
  cat "$report"
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
  local targets
  targets=$(cargo fuzz list)
  [[ $targets ]] || {
    echo "proofs.sh: there are no fuzz targets" >&2
    exit 1
  }
  for target in $targets; do
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
  tsan) tsan ;;
  asan-gateway) asan_gateway ;;
  valgrind) valgrind_gateway ;;
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
