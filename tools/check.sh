#!/usr/bin/env bash
# Everything that must pass before a change lands, fast checks first. Needs the Rust toolchain and
# bash; installs the two nats-server versions that the tests run against.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }

step "nats-server 2.9 and 2.14"
servers=$(./tools/setup.sh --both)
printf '%s\n' "$servers"
eval "$(printf '%s\n' "$servers" | sed 's/^/export /')"

step "format"
cargo fmt --all --check

step "clippy"
cargo clippy --workspace --all-targets --all-features -- -D warnings

for server in "$NATS_SERVER_2_9" "$NATS_SERVER_2_14"; do
  step "tests against $server"
  NATS_SERVER="$server" cargo test --workspace --all-features
done

step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features

step "licences, bans, sources"
if ! command -v cargo-deny >/dev/null; then
  cargo install cargo-deny --locked --version 0.20.2
fi
cargo deny check licenses bans sources
