#!/usr/bin/env bash
# Shows that the loom models catch what they are there for: weakens one memory ordering of a copy of
# the crate at a time and demands that a model fails. Prints which. About two minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ "${1:-}" == "--help" ]]; then
  sed -n '2,3s/^# //p' "$0"
  exit 0
fi

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
export RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR="$PWD/target/weaken"
# The code under test is small: optimising it across crates only costs time.
export CARGO_PROFILE_RELEASE_LTO=off
missed=0

# weaken NAME FILE SED-SCRIPT: the script must change the file.
weaken() {
  rm -rf "$copy"/*
  cp -r Cargo.toml Cargo.lock src benches tests tools soak ringbuf "$copy"/ 2>/dev/null || true
  sed -i "$3" "$copy/ringbuf/src/$2"
  if cmp -s "ringbuf/src/$2" "$copy/ringbuf/src/$2"; then
    echo "weaken.sh: '$1' changes nothing in $2: the code has moved on, adapt the script" >&2
    exit 1
  fi
  local log="$copy/log" failed
  if (cd "$copy" && timeout 600 cargo test -q -p ipc-ringbuf --test loom --release) >"$log" 2>&1; then
    echo "NOT CAUGHT  $1"
    missed=1
  else
    if ! grep -q "^test result: FAILED" "$log"; then
      cat "$log" >&2
      echo "weaken.sh: '$1' does not compile" >&2
      exit 1
    fi
    failed=$(sed -n 's/^    \([a-z_0-9]*\)$/\1/p' "$log" | sort -u | paste -sd' ')
    echo "caught      $1: $failed"
  fi
}

weaken "tail stored without Release" spsc.rs 's/\(\.store(pack.*\)Ordering::Release/\1Ordering::Relaxed/'
weaken "tail loaded without Acquire" spsc.rs 's/tail().load(Ordering::Acquire)/tail().load(Ordering::Relaxed)/'
weaken "head stored without Release" spsc.rs 's/head().store(self.head, Ordering::Release)/head().store(self.head, Ordering::Relaxed)/'
weaken "head loaded without Acquire" spsc.rs 's/head().load(Ordering::Acquire)/head().load(Ordering::Relaxed)/'
weaken "no fence in arm" doorbell.rs '/^pub fn arm/,/^}/s/fence(Ordering::SeqCst);//'
weaken "no fence in asleep" doorbell.rs '/^pub fn asleep/,/^}/s/fence(Ordering::SeqCst);//'
weaken "AcqRel fence in arm" doorbell.rs '/^pub fn arm/,/^}/s/SeqCst/AcqRel/'
weaken "AcqRel fence in asleep" doorbell.rs '/^pub fn asleep/,/^}/s/SeqCst/AcqRel/'

exit "$missed"
