#!/bin/sh
# Builds the RPM: build.sh [--version V] FOLDER. What is in it comes from stage.sh.
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
for tool in rpmbuild strip gcc; do
    command -v $tool >/dev/null || fail "$tool is missing: sudo dnf install rpm-build binutils gcc python3-devel" \
        "libnetfilter_queue-devel"
done

# The last commit's, which is also the time of each file that `git archive` puts into a tarball.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || stat -c %Y "$root/pyproject.toml")}
export SOURCE_DATE_EPOCH
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
umask 022
mkdir "$work/SOURCES"
tar -C "$root" --exclude=__pycache__ --transform "s|^|stunwall-$version/|" -czf "$work/SOURCES/stunwall-$version.tar.gz" \
    agent rules systemd pyproject.toml LICENSE README.md SECURITY.md CHANGELOG.md
rpmbuild -bb --quiet --define "_topdir $work" --define "stunwall_version $version" "$root/systemd/rpm/stunwall.spec" \
    >"$work/log" 2>&1 || { tail -n 30 "$work/log" >&2; fail "rpmbuild failed, see above"; }
for file in "$work"/RPMS/*/*.rpm; do
    cp "$file" "$folder"
    printf '%s\n' "$folder/${file##*/}"
done
