#!/usr/bin/env bash
# Where the instructions and the time go. Counts of instructions, which repeat exactly, are kept in
# benches/instructions.txt; a sampled run shows what the gateway does under load.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: tools/profile.sh instructions [--record | --check]
       tools/profile.sh perf|callgrind [--nats] [--duration SECONDS] [-- BENCH-ARGUMENT...]
       tools/profile.sh --help

instructions   counts the instructions of the hot paths (benches/instructions.rs) under callgrind
               and prints a table: path, instructions for each operation
  --record     writes the table to benches/instructions.txt
  --check      compares with benches/instructions.txt; fails when a path differs by more than 5 % in
               either direction, is missing or is new. What has become better is recorded too, or
               the next step back to where it was would not be seen. With another rustc, C
               library or valgrind than the record's the table is shown and nothing fails

perf           samples the gateway under load, 5 seconds unless --duration says otherwise
callgrind      the same, counting every instruction instead of sampling: the gateway is about 50
               times slower
  --nats       through nats-server and the reference Router, not the loopback upstream
  --           the rest goes to `ipc-gateway bench`; default --clients 4 --window 256 --payload 256
               Both print the 30 functions of the gateway with the most time (instructions) of
               their own, and leave folded stacks in target/profile/. Where perf cannot be used
               callgrind takes its place.

Needs: bash, Python 3, the Rust toolchain; valgrind for instructions and callgrind, perf for perf,
nats-server for --nats (tools/setup.sh finds or installs it).
Environment: NATS_SERVER names the nats-server binary to use.
Exit codes: 0 done, 1 failure or a difference, 2 usage, 3 not judged (the record is of other versions
of compiler, C library or valgrind), 130 Ctrl-C.
TEXT
}

wrong() {
  printf 'profile: %s\n' "$*" >&2
  usage >&2
  exit 2
}

action=print sampler='' upstream=loopback seconds=5
bench_arguments=(--clients 4 --window 256 --payload 256)
case "${1:-}" in
  -h | --help) usage && exit 0 ;;
  instructions)
    (($# <= 2)) || wrong "too many arguments"
    case "${2:-}" in
      '') ;;
      --record) action=record ;;
      --check) action=check ;;
      *) wrong "unknown argument: $2" ;;
    esac
    ;;
  perf | callgrind)
    sampler=$1
    shift
    while (($#)); do
      case "$1" in
        --nats) upstream=nats ;;
        --duration)
          [[ ${2:-} =~ ^[1-9][0-9]{0,2}$ ]] || wrong "--duration needs 1 to 999 seconds"
          seconds=$2
          shift
          ;;
        --)
          shift
          if (($#)); then bench_arguments=("$@"); fi
          break
          ;;
        *) wrong "unknown argument: $1" ;;
      esac
      shift
    done
    ;;
  '') wrong "say what to do" ;;
  *) wrong "unknown command: $1" ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly RECORD=benches/instructions.txt
# Seconds that a part may take to start (under valgrind everything is slow), and to end.
readonly START=60 END=20
# Most that a count may differ from the record, in percent.
readonly TOLERANCE=5
readonly UNDECIDED=3
# The C library picks memcpy and memset by what the processor can do. Without these features it takes
# the form for SSE2, which every x86-64 has, so that the counts do not depend on the machine. (Else
# valgrind's processor, which has AVX2 where the machine has, gets the form with `rep movsb`, of
# which callgrind counts every byte.)
readonly FEATURES=-ERMS,-FSRM,-AVX_Fast_Unaligned_Load,-AVX2,-AVX2_Usable,-AVX512F,-AVX512VL,-AVX512BW,-Prefer_ERMS,-Prefer_FSRM

work=
groups=()

say() { printf 'profile: %s\n' "$*" >&2; }

# die MESSAGE [PART]: says what failed, and the end of what that part has said.
die() {
  say "$1"
  if [[ -n ${2:-} && -s $work/$2.log ]]; then
    say "the last lines of $2:"
    tail -n 20 "$work/$2.log" | sed 's/^/  | /' >&2
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

# end PID: asks a group to end, and ends it when it does not.
end() {
  local bound=$((SECONDS + END))
  stop -TERM "$1" || return 0
  while alive "$1"; do
    if ((SECONDS >= bound)); then
      stop -KILL "$1" || true
      break
    fi
    sleep 0.05
  done
}

# until_true PART PID COMMAND...: repeats the command until it succeeds.
until_true() {
  local part=$1 pid=$2 bound=$((SECONDS + START))
  shift 2
  until "$@"; do
    alive "$pid" || die "$part has ended" "$part"
    ((SECONDS < bound)) || die "$part was not ready within $START seconds" "$part"
    sleep 0.05
  done
}

# Ends every group, the newest first.
clean_up() {
  local code=$? at
  trap '' INT TERM
  trap - EXIT
  for ((at = ${#groups[@]} - 1; at >= 0; at--)); do end "${groups[at]}"; done
  wait 2>/dev/null || true
  if [[ -n $work ]]; then rm -rf "$work"; fi
  if ((code == 130 || code == 143)); then say "interrupted; everything has been ended"; fi
  exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
work=$(mktemp -d "${TMPDIR:-/tmp}/ipcgw-profile.XXXXXX")
readonly work

need_valgrind() {
  command -v valgrind >/dev/null || die "valgrind is not installed: apt-get install valgrind"
}

# ---- instructions

# Builds the bench; its path is the output.
build_bench() {
  cargo bench --package ipc-gateway --bench instructions --no-run --message-format=json |
    python3 -c '
import json, sys
built = [json.loads(line) for line in sys.stdin if line.startswith("{")]
# The program itself is built with it.
print([one["executable"] for one in built if one.get("target", {}).get("kind") == ["bench"]][-1])'
}

# Makes the table: what the bench says it has run, and what callgrind has counted for it.
table() {
  python3 - "$work" <<'PY'
import pathlib, re, sys

work = pathlib.Path(sys.argv[1])
rows = []
for number, line in enumerate((work / "paths").read_text().splitlines(), 1):
    name, operations = line.split()
    counts = (work / f"counts.{number}").read_text()
    total = re.search(r"^(?:totals|summary): (\d+)", counts, re.M)
    if "--dump-before=instructions::written_out" not in counts or not total:
        sys.exit(f"profile: callgrind has written no count for {name}")
    rows.append((name, int(total[1]) / int(operations)))
if not rows or any(count == 0 for _, count in rows):
    sys.exit("profile: callgrind has counted nothing")
for name, count in rows:
    print(f"{name:<44}{count:>12.1f}")
PY
}

compare() {
  python3 - "$RECORD" "$work/table" "$TOLERANCE" <<'PY'
import sys

def read(path):
    lines = (line.split() for line in open(path) if line.strip() and not line.startswith("#"))
    return {name: float(count) for name, count in lines}

before, now, tolerance = read(sys.argv[1]), read(sys.argv[2]), float(sys.argv[3])
wrong = 0
print(f"{'path':<44}{'recorded':>12}{'counted':>12}{'change':>10}")
for name in dict.fromkeys([*before, *now]):
    old, new = before.get(name), now.get(name)
    if old is None or new is None:
        change, verdict = "", "NEW" if old is None else "MISSING"
    else:
        percent = (new / old - 1) * 100
        change = f"{percent:+.1f} %"
        verdict = "" if abs(percent) <= tolerance else "WORSE" if percent > 0 else "BETTER"
    wrong += verdict != ""
    shown = ["-" if count is None else f"{count:.1f}" for count in (old, new)]
    print(f"{name:<44}{shown[0]:>12}{shown[1]:>12}{change:>10}  {verdict}".rstrip())
if wrong:
    print(f"\n{wrong} of {len(before | now)} paths differ from {sys.argv[1]} by more than {tolerance:g} %. "
          "If that is meant, record it:\n  tools/profile.sh instructions --record")
    sys.exit(1)
print(f"\nall {len(now)} paths are within {tolerance:g} % of {sys.argv[1]}")
PY
}

# What the counts depend on besides the code.
versions() {
  printf '%s, %s, %s' "$(rustc --version | cut -d' ' -f1-2)" \
    "$(ldd --version | sed -n '1s/^ldd (\(.*\)) .*/\1/p')" "$(valgrind --version)"
}

instructions() {
  [[ $(uname -m) == x86_64 ]] || die "the counts are for x86_64; this is $(uname -m)"
  [[ $action != check || -e $RECORD ]] || die "there is no $RECORD: record it first"
  need_valgrind
  local bench
  bench=$(build_bench) || die "cargo has failed"
  say "counting"
  # Nothing of the environment: its size moves the stack.
  env -i PATH="$PATH" TMPDIR="$work" GLIBC_TUNABLES=glibc.cpu.hwcaps="$FEATURES" \
    setsid valgrind --tool=callgrind --callgrind-out-file="$work/counts" \
    --collect-atstart=no --toggle-collect=instructions::measured \
    --dump-before=instructions::written_out "$bench" \
    </dev/null >"$work/paths" 2>"$work/valgrind.log" &
  groups+=($!)
  wait $! || die "the bench has failed" valgrind
  table >"$work/table" || die "the counts cannot be read" valgrind
  case $action in
    print) cat "$work/table" ;;
    check)
      if grep -qxF "# $(versions)." "$RECORD"; then
        compare
      else
        # Another compiler or C library makes other instructions of the same code.
        compare || true
        say "not judged: the record is of other versions than $(versions)"
        exit "$UNDECIDED"
      fi
      ;;
    record)
      {
        printf '# Instructions for each operation of the hot paths (benches/instructions.rs), counted by\n'
        printf '# callgrind. Written by `tools/profile.sh instructions --record`, checked with --check.\n'
        printf '# %s.\n\n' "$(versions)"
        cat "$work/table"
      } >"$work/record"
      mv "$work/record" "$RECORD"
      say "written to $RECORD"
      ;;
  esac
}

# ---- perf, callgrind

# fold_perf: stacks of `perf script` on stdin become lines `outermost;...;innermost count`.
fold_perf() {
  python3 -c '
import collections, re, sys

folded, stack = collections.Counter(), None
for line in sys.stdin:
    if not line.strip():
        if stack:
            folded[";".join(reversed(stack))] += 1
        stack = None
    elif not line[0].isspace():
        stack = []
    elif stack is not None:
        name = re.sub(r"^\s*[0-9a-f]+ ", "", line.rstrip())
        name = re.sub(r" \([^()]*\)$", "", name)
        name = re.sub(r"(\+0x[0-9a-f]+|::h[0-9a-f]{16})+$", "", name)
        stack.append(name.replace(";", ":"))
if stack:
    folded[";".join(reversed(stack))] += 1
for stack, count in folded.most_common():
    print(stack, count)'
}

# fold_callgrind FILE...: the same of callgrind's counts. A name there carries its callers, the
# nearest first.
fold_callgrind() {
  python3 - "$@" <<'PY'
import collections, re, sys

folded = collections.Counter()
for path in sys.argv[1:]:
    names, current, inclusive = {}, None, False
    for line in open(path, errors="replace"):
        if line.startswith(("fn=", "cfn=")):
            number, name = re.match(r"c?fn=\((\d+)\)(?: (.*))?", line.rstrip()).groups()
            if name:
                names[number] = re.sub(r"::h[0-9a-f]{16}", "", name).replace(";", ":")
            if line.startswith("fn="):
                current = number
        elif line.startswith("calls="):
            inclusive = True
        elif line[0] in "0123456789+-*":
            if not inclusive and current is not None:
                folded[current, path] += int(line.split()[1])
            inclusive = False
    for number, name in names.items():
        count = folded.pop((number, path), 0)
        if count:
            folded[";".join(reversed(name.split("'")))] += count
for stack, count in folded.most_common():
    print(stack, count)
PY
}

# top FILE UNIT: the 30 functions with the most of their own.
top() {
  python3 - "$@" <<'PY'
import collections, sys

own = collections.Counter()
for line in open(sys.argv[1]):
    stack, count = line.rstrip().rsplit(" ", 1)
    own[stack.rsplit(";", 1)[-1]] += int(count)
total = sum(own.values())
if not total:
    sys.exit(f"profile: no {sys.argv[2]} were taken")
print(f"{'share':>7} {sys.argv[2]:>14}  function ({total} in all)")
for name, count in own.most_common(30):
    print(f"{count / total * 100:6.1f}% {count:14}  {name}")
PY
}

can_perf() {
  command -v perf >/dev/null || {
    say "perf is not installed: callgrind takes its place"
    return 1
  }
  perf record --quiet --output "$work/trial" --call-graph dwarf -- true >"$work/perf.log" 2>&1 || {
    say "perf cannot be used ($(tail -n 1 "$work/perf.log")): callgrind takes its place"
    return 1
  }
}

start_nats() {
  local server
  server=$(./tools/setup.sh | tail -n 1) || die "tools/setup.sh has failed"
  spawn nats-server "$server" -a 127.0.0.1 -p -1
  until_true nats-server $! grep -q 'Server is ready' "$work/nats-server.log"
  local port
  port=$(sed -n 's/.*client connections on 127.0.0.1:\([0-9]*\).*/\1/p' "$work/nats-server.log")
  spawn reference-router "$bin/reference-router" --nats "nats://127.0.0.1:$port" \
    --ready-file "$work/router-ready"
  until_true reference-router $! test -e "$work/router-ready"
  gateway+=(--nats "nats://127.0.0.1:$port")
}

answers() { "$bin/ipc-gateway" health --admin "$work/admin.sock" >"$work/health.log" 2>&1; }

# load SECONDS: what the gateway is given to do.
load() {
  run "$bin/ipc-gateway" bench --socket "$work/gateway.sock" "${bench_arguments[@]}" \
    --duration "$1s" >&2
}

under_load() {
  if [[ $sampler == perf ]]; then can_perf || sampler=callgrind; fi
  if [[ $sampler == callgrind ]]; then need_valgrind; fi
  say "building the release binaries"
  run cargo build --release --package ipc-gateway --package ipc-tools || die "cargo has failed"
  readonly bin="${CARGO_TARGET_DIR:-target}/release"
  readonly folded="target/profile/gateway-$upstream-$sampler.folded"
  mkdir -p target/profile

  gateway=("$bin/ipc-gateway" serve --socket "$work/gateway.sock" --admin "$work/admin.sock")
  if [[ $upstream == nats ]]; then start_nats; else gateway+=(--upstream loopback); fi
  if [[ $sampler == callgrind ]]; then
    gateway=(valgrind --tool=callgrind --separate-callers=12 --instr-atstart=no
      --callgrind-out-file="$work/counts" "${gateway[@]}")
  fi
  spawn gateway "${gateway[@]}"
  local pid=$! perf
  until_true gateway "$pid" answers

  say "load for $seconds s: ipc-gateway bench ${bench_arguments[*]}"
  if [[ $sampler == perf ]]; then
    spawn perf perf record --quiet --output "$work/samples" --freq 499 --call-graph dwarf,16384 \
      --pid "$pid" -- sleep "$seconds"
    perf=$!
    load "$seconds" || die "not every request was answered OK" gateway
    wait "$perf" || die "perf has failed" perf
    perf script --no-inline --input "$work/samples" 2>"$work/script.log" | fold_perf >"$folded"
    top "$folded" samples
  else
    callgrind_control --instr=on "$pid" >"$work/control.log" 2>&1 ||
      die "callgrind cannot be switched on" control
    load "$seconds" || die "not every request was answered OK" gateway
    end "$pid"
    fold_callgrind "$work"/counts* >"$folded"
    top "$folded" instructions
  fi
  say "folded stacks: $folded"
}

case $sampler in
  '') instructions ;;
  *) under_load ;;
esac
