#!/usr/bin/env bash
# What the gateway does with more load than nats-server and Router can take: a table of goodput and
# rejections at 0.5, 1, 2 and 4 times the capacity. Everything runs on free loopback ports and in a
# temporary directory, and is ended at the end, also by Ctrl-C.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: tools/overload.sh [--seconds N] [--timeout DURATION] [--config FILE] [--router FLAGS]

Measures the capacity in a closed loop (4 clients, window 256, 128 bytes), then offers 0.5, 1, 2 and
4 times of it in an open loop with windows of 4096 and this timeout for each request (default 50ms),
N seconds each (default 5). FILE configures the gateway, to compare: with
  [workers]
  max_queue_delay = "0s"
nothing limits what is on its way. FLAGS go to the reference Router: with
  --router '--delay 5ms --concurrency 50'
it is what there is too little of, and not the processor.

Columns: offered and answered OK in time, requests/s; rejected by the gateway and refused by the
clients' full rings, requests/s; timed out, requests/s; time from submission to rejection, half and
99 of 100 of them; latency of all completions from the moment they were due, half and 99 of 100 of them.

Needs: bash, jq, the Rust toolchain, nats-server. Environment: NATS_SERVER names its binary.
Exit codes: 0 goodput at twice the capacity is at least 80 % of the peak, 1 it is not or a part has
failed, 2 usage.
TEXT
}

seconds=5 timeout=50ms config=/dev/null router=()
while (($#)); do
  case "$1" in
    --seconds) seconds=$2 && shift 2 ;;
    --timeout) timeout=$2 && shift 2 ;;
    --config) config=$(realpath "$2") && shift 2 ;;
    --router) read -r -a router <<<"$2" && shift 2 ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
done

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly bin="${CARGO_TARGET_DIR:-target}/release"
readonly START=15

pids=()
clean_up() {
  local code=$? at
  trap - EXIT
  for ((at = ${#pids[@]} - 1; at >= 0; at--)); do
    kill -TERM "${pids[at]}" 2>/dev/null || true
    wait "${pids[at]}" 2>/dev/null || true
  done
  rm -rf "$work"
  exit "$code"
}
work=$(mktemp -d "${TMPDIR:-/tmp}/ipcgw-overload.XXXXXX")
readonly work
trap clean_up EXIT
trap 'exit 130' INT TERM

# spawn PART COMMAND...: starts a part; what it says goes to its log.
spawn() {
  local part=$1
  shift
  "$@" >"$work/$part.log" 2>&1 &
  pids+=($!)
}

# until_true PART COMMAND...: repeats the command until it succeeds.
until_true() {
  local part=$1 bound=$((SECONDS + START))
  shift
  until "$@"; do
    if ((SECONDS >= bound)); then
      printf 'overload: %s was not ready within %s seconds\n' "$part" "$START" >&2
      tail -n 20 "$work/$part.log" >&2
      exit 1
    fi
    sleep 0.05
  done
}

if [[ ! -x $bin/ipc-gateway || ! -x $bin/reference-router ]]; then
  cargo build --release --package ipc-gateway --package ipc-tools
fi
nats_server=${NATS_SERVER:-$(./tools/setup.sh | tail -n 1)}

nats_port() { sed -n 's/.*Listening for client connections on 127.0.0.1:\([0-9]*\).*/\1/p' "$work/nats-server.log"; }
nats_ready() { grep -q 'Server is ready' "$work/nats-server.log"; }
spawn nats-server "$nats_server" -a 127.0.0.1 -p -1
until_true nats-server nats_ready
url="nats://127.0.0.1:$(nats_port)"
spawn reference-router "$bin/reference-router" --nats "$url" --ready-file "$work/router-ready" "${router[@]}"
until_true reference-router test -e "$work/router-ready"
readonly socket="$work/gateway.sock"
readonly request='{"tenant_id":"acme","request_id":"o-1","task":{"type":"chat","payload":{"text":"hello"}}}'
ready() { "$bin/ipc-gateway" call --socket "$socket" "$request" >/dev/null 2>&1; }
spawn gateway "$bin/ipc-gateway" serve --config "$config" --nats "$url" --socket "$socket"
until_true gateway ready

# bench ARGUMENTS...: its JSON. Requests that do not succeed are what is measured here.
bench() {
  "$bin/ipc-gateway" bench --socket "$socket" --clients 4 --payload 128 --json "$@" 2>>"$work/bench.log" || true
}

capacity=$(bench --window 256 --duration "${seconds}s" | jq '.rate | round')
printf 'capacity %s requests/s (closed loop), %s, timeout %s, %s\n\n' \
  "$capacity" "$("$nats_server" --version)" "$timeout" "$(date -u +%F' '%R)"
columns='%6s %9s %9s %9s %9s %9s %11s %11s %10s %10s\n'
# shellcheck disable=SC2059 # the format is a constant
printf "$columns" load offered in_time rejected refused timed_out reject_p50 reject_p99 p50 p99
peak=0 twice=0
for load in 0.5 1 2 4; do
  rate=$(jq -n "$capacity * $load | round")
  report=$(bench --window 4096 --rate "$rate" --timeout "$timeout" --no-wait --duration "${seconds}s")
  in_time=$(jq "(.in_time / $seconds) | round" <<<"$report")
  jq -r --arg load "$load" --argjson s "$seconds" '
    def rate: (. // 0) / $s | round;
    [$load + "x", ((.requests + .refused) | rate), (.in_time | rate), (.rejected | rate),
     (.refused | rate), (.codes.TIMEOUT | rate), "\(.rejected_after_us.p50 | round)us", "\(.rejected_after_us.p99 | round)us",
     "\(.latency_us.p50 | round)us", "\(.latency_us.p99 | round)us"] | @tsv' <<<"$report" |
    while IFS=$'\t' read -r -a row; do
      # shellcheck disable=SC2059
      printf "$columns" "${row[@]}"
    done
  if ((in_time > peak)); then peak=$in_time; fi
  if [[ $load == 2 ]]; then twice=$in_time; fi
done
printf '\nin time at 2x: %s of %s at the peak, %s %%\n' "$twice" "$peak" "$((100 * twice / (peak > 0 ? peak : 1)))"
((100 * twice >= 80 * peak))
