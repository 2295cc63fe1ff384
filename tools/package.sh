#!/usr/bin/env bash
# Builds the Debian package: its path is the last line of stdout. Installs cargo-deb, pinned, below
# target/tools.
#
#   tools/package.sh [--profile PROFILE] [--binary FILE]
#
# With a release build, unless another profile is named: dev packs what the tests have built, and
# compresses in a hurry. With --binary of this program; nothing is built then.
#
# Needs: the Rust toolchain, bash, gzip, xz, dpkg-deb, and dpkg-shlibdeps (dpkg-dev).
set -euo pipefail
cd "$(dirname "$0")/.."

readonly CARGO_DEB_VERSION=3.8.0
readonly SHELLS=(bash zsh fish)

say() { printf 'package: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}

root=$PWD
readonly stage="$root/target/package"
binary='' profile=release
while (($#)); do
  case "$#:$1" in
    1:*) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
    *:--profile) profile=$2 ;;
    *:--binary) binary=$(realpath -- "$2") ;;
    *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
  esac
  shift 2
done
# The programs, as cargo-deb's own compressors are slow unless it is optimised.
compress=(--compress-system)
if [[ $profile == dev ]]; then compress+=(--fast); fi
command -v dpkg-shlibdeps >/dev/null || die "no dpkg-shlibdeps: install the package dpkg-dev"

cargo_deb="$root/target/tools/bin/cargo-deb"
if [[ $("$cargo_deb" --version 2>/dev/null) != *"$CARGO_DEB_VERSION" ]]; then
  say "installing cargo-deb $CARGO_DEB_VERSION"
  # It compresses and copies: an optimised one is not worth its build.
  cargo install cargo-deb --locked --version "$CARGO_DEB_VERSION" --debug --quiet \
    --root "$root/target/tools" >&2
fi

rm -rf "$stage"
mkdir -p "$stage/share" "$stage/target/release"
if [[ -z $binary ]]; then
  say "building the program, profile $profile"
  cargo build --profile "$profile" --locked --package ipc-gateway --bin ipc-gateway \
    --features otel >&2
  # The directory of dev has another name.
  binary="${CARGO_TARGET_DIR:-$root/target}/${profile/#dev/debug}/ipc-gateway"
fi
# cargo-deb takes programs from target/release of a target directory.
cp -- "$binary" "$stage/target/release/ipc-gateway"

# complete SHELL PATH: what the program says for this shell.
complete() {
  mkdir -p "$stage/share/${2%/*}"
  "$binary" completions "$1" >"$stage/share/$2"
}

if "$binary" completions bash >/dev/null 2>&1; then
  for shell in "${SHELLS[@]}"; do
    case $shell in
      bash) complete bash bash-completion/completions/ipc-gateway ;;
      zsh) complete zsh zsh/vendor-completions/_ipc-gateway ;;
      fish) complete fish fish/vendor_completions.d/ipc-gateway.fish ;;
    esac
  done
  mkdir -p "$stage/share/man/man1"
  "$binary" man --out "$stage/share/man/man1" >&2
  gzip --best --no-name "$stage"/share/man/man1/*.1
else
  say "this program makes no completions and man pages: the package is without them"
fi
# What has changed, and Debian's form of it, which says where to read on.
mkdir -p "$stage/share/doc/ipc-gateway"
gzip --best --no-name --stdout CHANGELOG.md >"$stage/share/doc/ipc-gateway/changelog.gz"
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
maintainer=$(sed -n 's/^maintainer = "\(.*\)"$/\1/p' Cargo.toml)
date=$(git log -1 --format=%cD 2>/dev/null || date -R)
printf 'ipc-gateway (%s-1) unstable; urgency=medium\n\n  * See changelog.gz beside this file.\n\n -- %s  %s\n' \
  "$version" "$maintainer" "$date" >"$stage/changelog"

# Debian's own tool for bugs shows this before a report is written.
mkdir -p "$stage/share/bug/ipc-gateway"
printf 'Before a report: ipc-gateway check-config; journalctl -u ipc-gateway.\n' \
  >"$stage/share/bug/ipc-gateway/presubj"

CARGO_TARGET_DIR="$stage/target" "$cargo_deb" --no-build --no-dbgsym --strip "${compress[@]}" \
  --output "$stage/" >&2
printf '%s\n' "$stage"/ipc-gateway_*.deb
