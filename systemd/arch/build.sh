#!/bin/sh
# Builds Arch's package: build.sh [--version V] FOLDER. What is in it comes from stage.sh. Not as root, which makepkg
# refuses; further options for makepkg may stand in MAKEPKG_OPTIONS.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
fail() { printf 'build.sh: %s\n' "$*" >&2; exit 1; }

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/pyproject.toml")
if [ "${1-}" = --version ]; then
    [ $# -gt 1 ] || fail "--version needs a version"
    version=$2
    shift 2
fi
[ $# = 1 ] || fail "usage: build.sh [--version V] FOLDER"
mkdir -p "$1"
folder=$(CDPATH='' cd -- "$1" && pwd)
command -v makepkg >/dev/null || fail "makepkg is missing: sudo pacman -S base-devel"

# The last commit's, which is also the time of each file that `git archive` puts into a tarball.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || stat -c %Y "$root/pyproject.toml")}
export SOURCE_DATE_EPOCH
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
umask 022
tar -C "$root" --exclude=__pycache__ --transform "s|^|stunwall-$version/|" -czf "$work/stunwall-$version.tar.gz" \
    agent rules systemd pyproject.toml LICENSE README.md SECURITY.md CHANGELOG.md
sum=$(sha256sum "$work/stunwall-$version.tar.gz" | cut -d ' ' -f 1)
sed "s/@version@/$version/; s/@sha256@/$sum/" "$root/systemd/arch/PKGBUILD" >"$work/PKGBUILD"
cp "$root/systemd/arch/stunwall.install" "$work"
cd "$work"
# shellcheck disable=SC2086 # options
PKGDEST=$folder PKGEXT=.pkg.tar.zst makepkg --nocolor ${MAKEPKG_OPTIONS-} >"$work/log" 2>&1 || {
    tail -n 30 "$work/log" >&2
    fail "makepkg failed, see above"
}
ls "$folder/stunwall-$version-1-"*.pkg.tar.zst
