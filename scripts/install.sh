#!/bin/sh
# Puts drover into PREFIX/lib/drover and links PREFIX/bin/drover to it; `make install` and `make uninstall` call it.
# Where PATH has no Node that is new enough, the checkout's own is copied to PREFIX/lib/drover/node.
# Usage: scripts/install.sh install PREFIX TARBALL
#        scripts/install.sh uninstall PREFIX
set -eu
action=$1
prefix=$2
root=$(cd "$(dirname -- "$0")/.." && pwd)
case $prefix in
  /*) ;;
  *) prefix=$PWD/$prefix ;;
esac
target=$prefix/lib/drover
link=$prefix/bin/drover

fail() {
  echo "install: $*" >&2
  exit 1
}

# Never removes what is not Drover's.
[ ! -e "$target" ] || grep -q '"name": "drover"' "$target/package.json" 2>/dev/null || fail "$target is not Drover's"
if [ -e "$link" ] || [ -L "$link" ]; then
  [ "$(readlink -- "$link")" = ../lib/drover/drover ] || fail "$link is not Drover's"
fi

# What a shell and man(1) find by itself: the manual, and completions, each a link into lib/drover.
share=$prefix/share
links() {
  for page in "$1"/man/*.1; do echo "man/man1/${page##*/} man/${page##*/}"; done
  echo "bash-completion/completions/drover completions/drover.bash"
  echo "zsh/site-functions/_drover completions/_drover"
  echo "fish/vendor_completions.d/drover.fish completions/drover.fish"
}
# Removes those that lead to Drover's; what else is called so is not touched.
unlink_all() {
  [ ! -d "$target" ] || links "$target" | while read -r name _; do
    case $(readlink -- "$share/$name" 2>/dev/null) in *lib/drover/*) rm -f "$share/$name" ;; esac
  done
}

if [ "$action" = uninstall ]; then
  unlink_all
  rm -rf "$target" "$link"
  exit 0
fi

new_enough() {
  "$1" -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 22 || (a == 22 && b >= 22) ? 0 : 1)' 2>/dev/null
}

umask 022
fresh=$target.new
rm -rf "$fresh"
mkdir -p "$fresh" "$prefix/bin"
tar -xzf "$3" -C "$fresh" --strip-components=1
if ! new_enough node; then
  own=$root/.toolchain/node_modules/.bin/node
  new_enough "$own" || fail "no Node 22.22 or newer: run make setup"
  mkdir -p "$fresh/node/bin"
  cp -L "$own" "$fresh/node/bin/node"
fi
unlink_all
rm -rf "$target"
mv "$fresh" "$target"
ln -sf ../lib/drover/drover "$link"
links "$target" | while read -r name file; do
  if [ -e "$share/$name" ] || [ -L "$share/$name" ]; then continue; fi
  mkdir -p "$share/${name%/*}"
  ln -s "../../../lib/drover/$file" "$share/$name"
done
echo "installed $("$link" --version) as $link"
case :$PATH: in
  *":$prefix/bin:"*) ;;
  *) echo "$prefix/bin is not on the PATH" ;;
esac
# Says what else is missing, such as a Redis server, and how to get it.
"$link" doctor || true
