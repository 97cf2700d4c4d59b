#!/bin/sh
# What the build.sh of each package begins with. It is read with the arguments of that script, [--version V] FOLDER, and
# sets root (of the checkout), version, folder (absolute), work (removed at the end) and SOURCE_DATE_EPOCH.

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
# shellcheck disable=SC2034 # for build.sh, as what follows
folder=$(CDPATH='' cd -- "$1" && pwd)

# The last commit's, which is also the time of each file that `git archive` puts into a tarball.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || stat -c %Y "$root/pyproject.toml")}
export SOURCE_DATE_EPOCH
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
umask 022

pack_sources() { # pack_sources FILE: what a package is built of, as a tarball
    tar -C "$root" --exclude=__pycache__ --transform "s|^|stunwall-$version/|" -czf "$1" \
        agent rules systemd pyproject.toml LICENSE README.md SECURITY.md CHANGELOG.md
}
