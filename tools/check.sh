#!/usr/bin/env bash
# Everything that must pass before a change lands. Needs the Rust toolchain, gcc, Python 3.11 and
# bash; installs the two nats-server versions that the tests run against, cargo-fuzz and cargo-deny.
# FUZZ_SECONDS is the time for each fuzz target, 60 unless set.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly FUZZ_SECONDS=${FUZZ_SECONDS:-60}
started=$SECONDS

step() { printf '\n== [%d s] %s\n' "$((SECONDS - started))" "$*"; }

step "nats-server 2.9 and 2.14"
servers=$(./tools/setup.sh --both)
printf '%s\n' "$servers"
eval "$(printf '%s\n' "$servers" | sed 's/^/export /')"

step "format"
cargo fmt --all --check

step "clippy"
cargo clippy -p ipc-ringbuf -- -D warnings
cargo clippy --workspace --all-targets --all-features -- -D warnings

# Each test starts several processes and some measure time: one at a time.
export RUST_TEST_THREADS=1
for server in "$NATS_SERVER_2_9" "$NATS_SERVER_2_14"; do
  step "tests against $server"
  NATS_SERVER="$server" cargo test --workspace --all-features
done
unset RUST_TEST_THREADS

step "benches, as tests"
NATS_SERVER="$NATS_SERVER_2_14" cargo test --workspace --bench '*'

step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features --document-private-items

step "the rings and bells under loom"
./tools/proofs.sh loom

step "the rings under AddressSanitizer"
./tools/proofs.sh asan

step "each fuzz target for $FUZZ_SECONDS s"
./tools/proofs.sh fuzz "$FUZZ_SECONDS"

step "licences, bans, sources"
if ! command -v cargo-deny >/dev/null; then
  cargo install cargo-deny --locked --version 0.20.2
fi
cargo deny check licenses bans sources

step "all checks passed"
