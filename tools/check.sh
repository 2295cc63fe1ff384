#!/usr/bin/env bash
# Everything that must pass before a change lands. Needs the Rust toolchain, gcc, Python 3.11 and
# bash; installs the two nats-server versions that the tests run against, Prometheus, nats-py,
# hadolint, systemd's, dpkg's and valgrind's programs, cargo-fuzz, cargo-deny, cargo-deb and mdbook.
#
#   tools/check.sh           what must pass before a change lands, about an hour
#   tools/check.sh --deep    the same with the long form of everything, about 3 h
#
# FUZZ_SECONDS is the time for each fuzz target: 60, or 1800 with --deep, unless set.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
  "")
    # With debug assertions, and nothing more to build.
    fuzz=60 seeds=1000 profile=dev
    ;;
  --deep)
    fuzz=1800 seeds=100000 profile=release
    # What the tests ask for their long forms.
    export IPCGW_LONG=1 IPCGW_HOSTILE_SECONDS=60 IPCGW_TEST_CHURN=100000
    ;;
  *)
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
readonly FUZZ_SECONDS=${FUZZ_SECONDS:-$fuzz}
# A clean checkout is built once: what helps to build it again costs time and a third of the room.
if [[ ${CI:-} ]]; then export CARGO_INCREMENTAL=0; fi
started=$SECONDS

step() { printf '\n== [%d s] %s\n' "$((SECONDS - started))" "$*"; }

# debian PROGRAM PACKAGE: installs the package when the program is missing.
debian() {
  command -v "$1" >/dev/null && return
  apt-get install -y --no-install-recommends "$2" ||
    { apt-get update && apt-get install -y --no-install-recommends "$2"; }
}

step "nats-server 2.9 and 2.14"
servers=$(./tools/setup.sh --both)
printf '%s\n' "$servers"
eval "$(printf '%s\n' "$servers" | sed 's/^/export /')"

step "what else the tests run"
prometheus=$(./tools/setup.sh --promtool)
eval "$(printf '%s\n' "$prometheus" | sed 's/^/export /')"
python3 -c 'import ensurepip, venv' 2>/dev/null || apt-get install -y python3-venv ||
  { apt-get update && apt-get install -y python3-venv; }
./tools/setup.sh --python
debian systemd-analyze systemd

step "format"
cargo fmt --all --check

step "the Dockerfile"
"$(./tools/setup.sh --hadolint)" deploy/Dockerfile

step "clippy"
cargo clippy -p ipc-ringbuf -- -D warnings
cargo clippy --workspace --all-targets --all-features -- -D warnings

# Each test starts several processes and some measure time: one at a time.
export RUST_TEST_THREADS=1
step "tests against $NATS_SERVER_2_14"
NATS_SERVER="$NATS_SERVER_2_14" cargo test --workspace --all-features

# Once more with what talks to nats-server, but for what is the same with any: how the tools judge,
# and how gateways follow one another.
step "tests against $NATS_SERVER_2_9"
export NATS_SERVER="$NATS_SERVER_2_9"
# Of the whole workspace, so that nothing is built with other features.
again() { cargo test --workspace --all-features "$@"; }
again --lib -- nats::
again --test tests -- --skip runbook:: --skip compare:: --skip upgrade::
again --test contract --test e2e --test reference_router -- --skip found_out
again --test soak -- scenario::
unset RUST_TEST_THREADS NATS_SERVER

step "the worker simulated from $seeds seeds"
cargo run --profile "$profile" -p ipc-tools --bin simulate -- --seeds "$seeds"

step "benches, as tests"
NATS_SERVER="$NATS_SERVER_2_14" cargo test --workspace --bench '*'

step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features --document-private-items

step "the Debian package: installed, served from, upgraded, purged"
debian dpkg-shlibdeps dpkg-dev
debian xz xz-utils
debian adduser adduser
debian deb-systemd-helper init-system-helpers
debian lintian lintian
# In the short form of the program that the tests have run: nothing is built but cargo-deb.
if [[ $profile == release ]]; then
  ./tools/package.sh
else
  ./tools/package.sh --profile dev --binary "${CARGO_TARGET_DIR:-target}/debug/ipc-gateway"
fi
# What it says of packages for Debian's own archive does not apply.
lintian --fail-on error,warning --suppress-tags initial-upload-closes-no-bugs \
  target/package/ipc-gateway_*.deb
./tools/package-test.sh

step "the book"
./tools/book.sh

step "the rings and bells under loom"
./tools/proofs.sh loom

step "the rings under AddressSanitizer"
./tools/proofs.sh asan

step "the rings and clients under ThreadSanitizer"
./tools/proofs.sh tsan

step "the gateway under AddressSanitizer, with every kind of fault"
NATS_SERVER="$NATS_SERVER_2_14" ./tools/proofs.sh asan-gateway

step "instructions of the hot paths"
debian valgrind valgrind
# 3: the record is of other versions of compiler, C library or valgrind.
./tools/profile.sh instructions --check || (($? == 3))

step "the gateway under valgrind, with every kind of fault"
NATS_SERVER="$NATS_SERVER_2_14" ./tools/proofs.sh valgrind

step "each fuzz target for $FUZZ_SECONDS s"
./tools/proofs.sh fuzz "$FUZZ_SECONDS"

step "the chain of evidence, in its short form"
./tools/evidence.sh --short

step "licences, bans, sources"
if ! command -v cargo-deny >/dev/null; then
  cargo install cargo-deny --locked --version 0.20.2
fi
cargo deny check licenses bans sources

step "all checks passed"
