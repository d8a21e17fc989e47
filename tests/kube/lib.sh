# shellcheck shell=bash disable=SC2034
# What the scripts of tests/kube and tests/images share. To be sourced.

kube_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache_dir=${MOORING_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/mooring}

# Every instance has a network of its own without a link to the machine's, so
# they can all use the same addresses.
export NODE_IP=10.201.0.1
export NODE_CIDR=10.201.0.0/24
export POD_CIDR=10.202.0.0/16
export SERVICE_CIDR=10.96.0.0/16
export DNS_IP=10.96.0.10
export API_SERVER=https://$NODE_IP:6443

say() { printf '%s\n' "$*" >&2; }

die() {
  say "$(basename "$0"): $*"
  exit 1
}

need_root() {
  [[ $(id -u) == 0 ]] || die "must be run as root (it makes network namespaces and mounts)"
}

# now_ms: the time in milliseconds, for measuring.
now_ms() { echo $(($(date +%s%N) / 1000000)); }

# since MS: the seconds since then, with one digit.
since() {
  local ms=$(($(now_ms) - $1))
  printf '%d.%d' $((ms / 1000)) $((ms % 1000 / 100))
}

# hash_of FILE...: one short hash of the files' contents, wherever they lie.
hash_of() { sha256sum -- "$@" | cut -d' ' -f1 | sha256sum | cut -c1-16; }

# need_packages FILE=PACKAGE...: installs the Debian package of every file (or
# command) that is missing.
need_packages() {
  local pair missing=()
  for pair in "$@"; do
    if ! command -v "${pair%%=*}" >/dev/null; then missing+=("${pair#*=}"); fi
  done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null ||
    die "these Debian packages (or their like) must be installed first: ${missing[*]}"
  need_root
  say "installing ${missing[*]}"
  local log
  log=$(mktemp)
  if ! { apt-get update -q && DEBIAN_FRONTEND=noninteractive \
    apt-get install -qy --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
    tail -20 "$log" >&2
    rm -f "$log"
    die "apt could not install ${missing[*]}"
  fi
  rm -f "$log"
}

# need_go DIR: Go, new enough for the module in DIR.
need_go() {
  local wanted have
  wanted=$(sed -n 's/^go //p' "$1/go.mod")
  command -v go >/dev/null || die "Go $wanted or newer must be installed"
  # Older Go would try to download a newer one, which is for the user to decide.
  have=$(cd "$1" && GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || true
  have=${have#go}
  [[ -n $have && $(printf '%s\n' "$wanted" "$have" | sort -V | head -1) == "$wanted" ]] ||
    die "Go $wanted or newer is needed, and this one is ${have:-not to be asked its version}"
}

# go_build LABEL DIR OUT [ARGUMENT...]: a static binary, built beside its place
# and then renamed; says how far it is when it takes long.
go_build() {
  local label=$1 dir=$2 out=$3 start log total packages pid shown=0
  shift 3
  start=$SECONDS
  log=$(mktemp)
  (cd "$dir" && GOFLAGS="${GOFLAGS:-} -buildvcs=false" CGO_ENABLED=0 exec go build -v -trimpath \
    "$@" -o "$out.half" .) >"$log" 2>&1 </dev/null &
  pid=$!
  # In the background it would not notice an interruption.
  # shellcheck disable=SC2064
  trap "kill $pid 2>/dev/null; rm -f '$log' '$out.half'" EXIT
  total=$(cd "$dir" && CGO_ENABLED=0 go list -deps . 2>/dev/null | wc -l)
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.2
    ((SECONDS - start - shown >= 15)) || continue
    shown=$((SECONDS - start))
    packages=$(grep -vc ' ' "$log" || true)
    say "building $label: compiled $packages packages of $total (less those that Go has cached), $shown s"
  done
  if ! wait "$pid"; then
    grep -E '^#|:[0-9]+|^go: |error' "$log" | tail -20 >&2 || tail -20 "$log" >&2
    die "building $label failed"
  fi
  mv "$out.half" "$out"
  rm -f "$log"
  trap - EXIT
  say "built $label in $((SECONDS - start)) s"
}

# with_lock FILE COMMAND...: one caller at a time. (COMMAND is not tested for its
# status here, because then `set -e` would be off within it.)
with_lock() {
  local lock=$1 fd
  shift
  mkdir -p "$(dirname "$lock")"
  exec {fd}>"$lock"
  if ! flock -n "$fd"; then
    say "waiting for another call of $(basename "$0")"
    flock "$fd"
  fi
  "$@"
  exec {fd}>&-
}

# use_instance NAME: sets the variables of one instance.
use_instance() {
  [[ ${1:-} =~ ^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$ ]] ||
    die "an instance's name is 1 to 30 small letters, digits and dashes"
  name=$1
  state=/var/lib/mooring-kube/$name
  socket=$state/containerd.sock
  cgroup=mooring-$name
}

# first_process: the process number of the instance's first process, if it runs.
# Its start time was noted too, as process numbers are used again.
first_process() {
  local pid began
  read -r pid began 2>/dev/null <"$state/first" || return 1
  [[ $(started_at "$pid") == "$began" ]] || return 1
  echo "$pid"
}

# started_at PID: when it started, in ticks since the machine did.
started_at() {
  local stat
  read -r stat 2>/dev/null <"/proc/$1/stat" || return 0
  # The name, the second field, can hold blanks.
  stat=${stat##*) }
  awk '{print $20}' <<<"$stat"
}

# use_running NAME: as above, for an instance that must be up.
use_running() {
  use_instance "${1:-}"
  need_root
  pid=$(first_process) || die "instance $name is not up"
  bin=$(readlink "$state/bin")
}

# inside COMMAND...: runs it in the instance's network.
inside() {
  KUBECONFIG=$state/kubeconfig PATH=$bin:$PATH nsenter --net="/proc/$pid/ns/net" -- "$@"
}

# cgroup_dirs: the directory of every cgroup hierarchy.
cgroup_dirs() {
  awk '$3 == "cgroup" || $3 == "cgroup2" {print $2}' /proc/self/mounts | grep '^/sys/fs/cgroup' | sort -u
}
