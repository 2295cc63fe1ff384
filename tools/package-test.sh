#!/usr/bin/env bash
# Installs the Debian package, starts the gateway as its unit does, asks it, upgrades, removes and
# purges it, and shows that nothing is left behind. All of it in a throw-away root: this machine's
# files below an overlay in memory, in namespaces of mounts, processes, hosts' names and the network.
# Nothing outside is changed.
#
#   tools/package-test.sh [FILE.deb]    without FILE what tools/package.sh has built
#
# Needs: root, unshare, overlayfs, dpkg, adduser, systemd-analyze (systemd), deb-systemd-helper
# (init-system-helpers).
set -euo pipefail

say() { printf 'package-test: %s\n' "$*"; }
die() {
  say "$*" >&2
  exit 1
}

# Everything but what dpkg and its triggers keep about all packages.
readonly LEDGERS='^/(var/lib/(dpkg|systemd/deb-systemd)|var/log|var/cache/(man|ldconfig|debconf)|tmp)(/|$)|^/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$|^/etc/\.pwd\.lock$'

# Before the real one in the PATH of maintainer scripts.
readonly MANAGER=/usr/local/bin/systemctl

outside() {
  [[ $(id -u) -eq 0 ]] || die "this needs root: it mounts an overlay"
  local deb=${1:-}
  if [[ -z $deb ]]; then
    deb=$(ls "$(dirname "$0")"/../target/package/ipc-gateway_*.deb 2>/dev/null) ||
      die "no package: run tools/package.sh"
  fi
  deb=$(realpath -- "$deb")
  [[ -f $deb ]] || die "no file $deb"
  exec unshare --mount --pid --uts --net --ipc --fork --kill-child \
    bash "$(realpath -- "$0")" --prepare "$deb"
}

# Mounts the throw-away root and goes on in it.
prepare() {
  local deb=$1 root
  mount --make-rprivate /
  mount -t tmpfs -o size=1g tmpfs /mnt
  mkdir /mnt/upper /mnt/work /mnt/root
  root=/mnt/root
  mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work "$root"
  mount -t proc proc "$root/proc"
  mount -t sysfs -o ro sysfs "$root/sys" 2>/dev/null || true
  mount --rbind /dev "$root/dev"
  mount -t tmpfs tmpfs "$root/run"
  mount -t tmpfs tmpfs "$root/tmp"
  # What was changed, and what was there before.
  mkdir "$root/tmp/upper" "$root/tmp/lower"
  mount --bind /mnt/upper "$root/tmp/upper"
  mount --bind / "$root/tmp/lower"
  cp -- "$deb" "$root/tmp/ipc-gateway.deb"
  cp -- "$0" "$root/tmp/package-test.sh"
  exec chroot "$root" bash /tmp/package-test.sh --inside
}

users() { cut -d: -f1 /etc/passwd /etc/group | sort; }

# What lies in the throw-away root and not below it. Whatever others do with the machine's own files
# meanwhile does not show. A device is a file that was deleted.
files() {
  local path
  find /tmp/upper -mindepth 1 ! -type c -printf '/%P\n' | while IFS= read -r path; do
    [[ -e /tmp/lower$path || -L /tmp/lower$path ]] || printf '%s\n' "$path"
  done | { grep -Ev "$LEDGERS" || true; } | sort
}

# until_true WHAT COMMAND...
until_true() {
  local what=$1 end=$((SECONDS + 30))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || die "not in time: $what"
    read -r -t 0.1 <>/dev/fd/3 || true
  done
}

# Starts the gateway as the unit does, as the unit's user; `gateway` is its process.
begin() {
  local unit=/usr/lib/systemd/system/ipc-gateway.service command
  [[ -f $unit ]] || unit=/lib/systemd/system/ipc-gateway.service
  command=$(sed -n 's/^ExecStart=//p' "$unit")
  user=$(sed -n 's/^User=//p' "$unit")
  [[ $command == /usr/bin/ipc-gateway* && $user == ipc-gateway ]] || die "the unit says '$command'"
  # What RuntimeDirectory= does.
  install -d -o "$user" -g "$user" -m 0755 /run/ipc-gateway
  # shellcheck disable=SC2086 # a command with its arguments
  setpriv --reuid "$user" --regid "$user" --init-groups --no-new-privs $command 3>&- \
    >/tmp/gateway.log 2>&1 &
  gateway=$!
  until_true "the gateway is ready: $(tail -n 3 /tmp/gateway.log)" ipc-gateway health
}

# Has it answer.
ask() {
  local reply
  [[ $(ipc-gateway health) == ready* ]] || die "health says $(ipc-gateway health)"
  reply=$(IPC_GATEWAY_SERVER_UID=$(id -u "$user") ipc-gateway call hello)
  [[ $reply == *'"code":"OK"'* ]] || die "the gateway answers $reply"
}

finish() {
  kill -TERM "$gateway"
  wait "$gateway" || die "the gateway ended with $?: $(cat /tmp/gateway.log)"
  rmdir /run/ipc-gateway 2>/dev/null || rm -rf /run/ipc-gateway
}

serve_once() {
  begin
  ask
  finish
}

# Has maintainer scripts believe that systemd runs; what they ask of it is noted, and nothing is done. The
# service's process is the one in main.pid, and a restart fails where there is a file restart-fails.
pretend_systemd() {
  mkdir -p /run/systemd/system "${MANAGER%/*}"
  cat >"$MANAGER" <<'EOF'
#!/bin/sh
echo "$0 $*" >>/tmp/manager.log
case " $* " in
  *" is-enabled "*) echo enabled ;;
  *" show "*) cat /tmp/main.pid ;;
  *" restart "*) [ ! -e /tmp/restart-fails ] ;;
esac
EOF
  chmod 755 "$MANAGER"
  policy 0
}

# policy CODE: what maintainer scripts hear that ask whether they may start something.
policy() {
  printf '#!/bin/sh\nexit %s\n' "$1" >/usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
}

# upgrade: installs again, with a new note of what is asked of the service manager.
upgrade() {
  : >/tmp/manager.log
  dpkg --install /tmp/ipc-gateway.deb >/tmp/dpkg.log 2>&1 </dev/null || die "$(cat /tmp/dpkg.log)"
}

restarted() { grep -q ' restart ipc-gateway\.service$' /tmp/manager.log; }

# said WORDS: dpkg has said them.
said() { grep -qF -- "$1" /tmp/dpkg.log || die "not said: $1: $(cat /tmp/dpkg.log)"; }

inside() {
  local config=/etc/ipc-gateway/config.toml before_files before_users left gateway user
  export DEBIAN_FRONTEND=noninteractive
  # Something to wait on that never comes.
  mkfifo /tmp/never
  exec 3<>/tmp/never
  # No service manager runs here; were there one, it would not start anything.
  policy 101
  before_files=$(files)
  before_users=$(users)

  say "install"
  dpkg --install /tmp/ipc-gateway.deb >/tmp/dpkg.log 2>&1 || die "$(cat /tmp/dpkg.log)"
  [[ $(stat -c '%U:%G %a' "$config") == "root:ipc-gateway 640" ]] ||
    die "$config is $(stat -c '%U:%G %a' "$config")"
  [[ $(getent passwd ipc-gateway) == *:/nonexistent:*nologin ]] || die "no user ipc-gateway"
  [[ -L /etc/systemd/system/sockets.target.wants/ipc-gateway.socket ]] ||
    die "the socket is not enabled"
  ipc-gateway --version
  ipc-gateway check-config --config "$config" >/dev/null
  systemd-analyze verify --man=no ipc-gateway.service ipc-gateway.socket
  [[ -s /usr/share/bash-completion/completions/ipc-gateway ]] || die "no completions for bash"
  [[ -s /usr/share/man/man1/ipc-gateway.1.gz ]] || die "no man page"
  [[ -s /usr/share/doc/ipc-gateway/copyright ]] || die "no copyright"

  say "start, ask, stop"
  sed -i 's/^#upstream = .*/upstream = "loopback"/' "$config"
  serve_once

  say "install again, as an upgrade does: the changed configuration stays, and the socket's unit"
  pretend_systemd
  begin
  printf '%s\n' "$gateway" >/tmp/main.pid
  upgrade
  ! grep -E ' (stop|restart|try-restart) .*ipc-gateway\.socket' /tmp/manager.log ||
    die "the upgrade has ended the socket's unit"
  restarted || die "the service was not restarted: $(cat /tmp/dpkg.log)"

  say "upgrade to what does not take the configuration: the gateway that runs goes on"
  sed -i '1i no_such_key = 1' "$config"
  upgrade
  ! restarted || die "the service was restarted: $(cat /tmp/dpkg.log)"
  said "NOT RESTARTED"
  said "unknown key \`no_such_key\`"
  said "systemctl restart ipc-gateway.service"
  ask
  sed -i 1d "$config"

  say "upgrade with a restart that fails: dpkg is done, and says so"
  touch /tmp/restart-fails
  upgrade
  restarted || die "the service was not restarted: $(cat /tmp/dpkg.log)"
  said "THE RESTART HAS FAILED"
  rm -r "$MANAGER" /run/systemd /tmp/restart-fails /tmp/main.pid
  policy 101
  finish
  grep -q '^upstream = "loopback"' "$config" || die "the upgrade has replaced the configuration"
  [[ $(stat -c '%U:%G %a' "$config") == "root:ipc-gateway 640" ]] || die "its mode has changed"
  serve_once

  say "remove: the configuration stays"
  dpkg --remove ipc-gateway >/tmp/dpkg.log 2>&1 || die "$(cat /tmp/dpkg.log)"
  [[ -f $config && ! -e /usr/bin/ipc-gateway ]] || die "removed too much, or too little"

  say "purge: nothing stays"
  dpkg --purge ipc-gateway >/tmp/dpkg.log 2>&1 || die "$(cat /tmp/dpkg.log)"
  left=$(comm -13 <(printf '%s\n' "$before_files") <(files))
  [[ -z $left ]] || die "left behind: $left"
  left=$(comm -3 <(printf '%s\n' "$before_users") <(users))
  [[ -z $left ]] || die "users or groups left behind: $left"
  [[ -z $(find /etc/systemd /var/lib/systemd/deb-systemd-helper-* -name 'ipc-gateway*' 2>/dev/null) ]] ||
    die "units left behind"
  say "the package installs, serves and goes without a trace"
}

case "${1:-}" in
  --prepare) prepare "$2" ;;
  --inside) inside ;;
  --help | -h | -*) sed -n '2,10s/^# \{0,1\}//p' "$0" ;;
  *) outside "$@" ;;
esac
