#!/usr/bin/env bash
# All the evidence for the readiness report, in order, and then the report. Every run leaves a
# directory below artifacts/; one that fails is evidence too, so the rest goes on. At the end stands
# which runs failed, which were inconclusive and why, and whether staging and production are reached.
#
#   tools/evidence.sh            everything: the soaks alone take an hour
#   tools/evidence.sh --short    the end-to-end checks whole, a soak of 2 minutes, few events, one
#                                round of each comparison. Short runs are inconclusive where a verdict
#                                needs time, and are not enough for the lines of the report about them.
#
# Needs what tools/check.sh needs. Exit codes:
#   0    every run passed; with --short, or was one that is too short to pass and could not tell
#   1    a run failed
#   2    usage, or the report could not be made
#   3    no run failed, but one that need not have been inconclusive was
#   130, 143   a run was interrupted, and the rest not begun
# None of them says that a gate is reached: `readiness --gate staging` has an exit code for that.
set -euo pipefail
# What runs ends in order, and what it leaves may be a verdict like any other.
trap 'exit 130' INT
trap 'exit 143' TERM
cd "$(dirname "$0")/.."

usage() { sed -n '2,18s/^# \{0,1\}//p' "$0"; }

# Kinds of run that may be inconclusive.
short=false open=""
case "${1:-}" in
  "") ;;
  --short) short=true open=" soak soak-events compare-nats compare-local " ;;
  -h | --help)
    usage
    exit 0
    ;;
  *)
    usage >&2
    exit 2
    ;;
esac

started=$SECONDS failed=() undecided=() needless=false
step() { printf '\n== [%d s] %s\n' "$((SECONDS - started))" "$*" >&2; }
runs() { { find "artifacts/$1" -mindepth 1 -maxdepth 1 -type d 2>/dev/null || true; } | wc -l; }

# run KIND NAME COMMAND...: goes on when the command fails. What it leaves may say more than its exit
# code: 1 failed, 3 inconclusive.
run() {
  local kind=$1 name=$2 code=0 before said="" verdict=0
  shift 2
  step "$name"
  before=$(runs "$kind")
  "$@" || code=$?
  case $code in 130 | 143) exit "$code" ;; esac
  if (($(runs "$kind") > before)); then
    said=$("$bin/readiness" last "$kind") || verdict=$?
  else
    said="no directory below artifacts/$kind" verdict=2
  fi
  case $code,$verdict in
    0,0) ;;
    0,3 | 3,0 | 3,3)
      undecided+=("$name: $said")
      [[ $open == *" $kind "* ]] || needless=true
      printf 'evidence: %s is inconclusive\n' "$name" >&2
      ;;
    *)
      failed+=("$name: exit code $code; $said")
      printf 'evidence: %s has failed with %d\n' "$name" "$code" >&2
      ;;
  esac
}

step "programs"
servers=$(./tools/setup.sh --both)
eval "$(printf '%s\n' "$servers" | sed 's/^/export /')"
export NATS_SERVER=$NATS_SERVER_2_14
readonly bin=${CARGO_TARGET_DIR:-target}/release
# Soaks judge what the gateway's allocator has handed out, which this build counts. Everything else
# runs the ordinary one.
cargo build --release -p ipc-gateway --features counted --bin ipc-gateway
mkdir -p "$bin/counted"
cp "$bin/ipc-gateway" "$bin/counted/ipc-gateway"
cargo build --release -p ipc-gateway -p ipc-tools -p ipc-soak --bins
soak() { IPC_SOAK_GATEWAY=$bin/counted/ipc-gateway "$bin/ipc-soak" "$@"; }

# proof KIND COMMAND...: an artifact of a command that knows nothing of artifacts.
proof() {
  local kind=$1
  shift
  run "$kind" "$kind" "$bin/readiness" record "$kind" -- "$@"
}

run e2e "the 33 checks" "$bin/e2e"
run contract "the contract" "$bin/contract"
if $short; then
  run soak "a short soak" soak --duration 2m --faults none
  run soak-events "events" soak events --scale 0.01
  run compare-nats "beside others, through NATS" "$bin/compare" nats --rounds 1 --seconds 0.5 \
    --artifacts artifacts
  run compare-local "beside others, without NATS" "$bin/compare" local --contenders gateway,uds \
    --rounds 1 --seconds 0.5 --artifacts artifacts
else
  proof loom ./tools/proofs.sh loom
  proof asan ./tools/proofs.sh asan
  proof asan-gateway ./tools/proofs.sh asan-gateway
  proof valgrind ./tools/proofs.sh valgrind
  proof fuzz ./tools/proofs.sh fuzz
  proof simulate "$bin/simulate" --seeds 1000
  proof instructions ./tools/profile.sh instructions --check
  proof faults env RUST_TEST_THREADS=1 cargo test -p ipc-gateway --test tests faults::
  cargo build --release -p ipc-tools --bin compare --features iceoryx2
  run compare-nats "beside others, through NATS" "$bin/compare" nats --artifacts artifacts
  run compare-local "beside others, without NATS" "$bin/compare" local --artifacts artifacts
  run soak-events "events" soak events
  run soak "half of capacity for half an hour" soak --duration 30m --rate 50% --faults none
  run soak "a storm of faults for half an hour" soak --duration 30m --rate 50% --faults storm
fi

step "report"
"$bin/readiness" || exit 2

step "what came out"
for what in "${failed[@]}"; do printf 'failed: %s\n' "$what" >&2; done
for what in "${undecided[@]}"; do printf 'inconclusive: %s\n' "$what" >&2; done
for gate in staging production; do
  code=0
  "$bin/readiness" --gate "$gate" >/dev/null || code=$?
  case $code in
    0) printf '%s is reached\n' "$gate" >&2 ;;
    1) printf '%s is not reached: the report says what blocks it\n' "$gate" >&2 ;;
    *) exit 2 ;;
  esac
done
((${#failed[@]} == 0)) || exit 1
if $needless; then exit 3; fi
