#!/usr/bin/env bash
# All the evidence for the readiness report, in order, and then the report. Every run leaves a
# directory below artifacts/; one that fails is evidence too, so the rest goes on.
#
#   tools/evidence.sh            everything: the soaks alone take an hour
#   tools/evidence.sh --short    the end-to-end checks whole, a soak of 2 minutes, few events, one
#                                round of each comparison. Short runs are inconclusive where a verdict
#                                needs time.
#
# Needs what tools/check.sh needs. Exit codes: 0 no run failed, 1 one did, 2 usage.
set -euo pipefail
cd "$(dirname "$0")/.."

short=false
case "${1:-}" in
  "") ;;
  --short) short=true ;;
  -h | --help)
    sed -n '2,10s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
  *)
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac

started=$SECONDS failed=()
step() { printf '\n== [%d s] %s\n' "$((SECONDS - started))" "$*" >&2; }

# run NAME COMMAND...: goes on when the command fails. 3 is what a run says that cannot tell.
run() {
  local name=$1 code=0
  shift
  step "$name"
  "$@" || code=$?
  case $code in
    0) ;;
    3) printf 'evidence: %s is inconclusive\n' "$name" >&2 ;;
    130 | 143) exit "$code" ;;
    *)
      failed+=("$name")
      printf 'evidence: %s has failed with %d\n' "$name" "$code" >&2
      ;;
  esac
}

step "programs"
servers=$(./tools/setup.sh --both)
eval "$(printf '%s\n' "$servers" | sed 's/^/export /')"
export NATS_SERVER=$NATS_SERVER_2_14
cargo build --release -p ipc-gateway -p ipc-tools -p ipc-soak --bins
readonly bin=${CARGO_TARGET_DIR:-target}/release

# proof KIND COMMAND...: an artifact of a command that knows nothing of artifacts.
proof() {
  local kind=$1
  shift
  run "$kind" "$bin/readiness" record "$kind" -- "$@"
}

run "the 33 checks" "$bin/e2e"
run "the contract" "$bin/contract"
if $short; then
  run "a short soak" "$bin/ipc-soak" --duration 2m --faults none
  run "events" "$bin/ipc-soak" events --scale 0.01
  run "beside others, through NATS" "$bin/compare" nats --rounds 1 --seconds 0.5 --artifacts artifacts
  run "beside others, without NATS" "$bin/compare" local --contenders gateway,uds --rounds 1 \
    --seconds 0.5 --artifacts artifacts
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
  run "beside others, through NATS" "$bin/compare" nats --artifacts artifacts
  run "beside others, without NATS" "$bin/compare" local --artifacts artifacts
  run "events" "$bin/ipc-soak" events
  run "half of capacity for half an hour" "$bin/ipc-soak" --duration 30m --rate 50% --faults none
  run "a storm of faults for half an hour" "$bin/ipc-soak" --duration 30m --faults storm
fi

step "report"
"$bin/readiness"
if ((${#failed[@]} > 0)); then
  printf 'evidence: failed: %s\n' "${failed[*]}" >&2
  exit 1
fi
