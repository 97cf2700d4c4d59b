#!/bin/sh
# Builds the RPM: build.sh [--version V] FOLDER. What is in it comes from stage.sh.
set -eu

# shellcheck source=systemd/package.sh
. "$(dirname -- "$0")/../package.sh"
for tool in rpmbuild strip gcc; do
    command -v $tool >/dev/null || fail "$tool is missing: sudo dnf install rpm-build binutils gcc python3-devel" \
        "libnetfilter_queue-devel"
done

mkdir "$work/SOURCES"
pack_sources "$work/SOURCES/stunwall-$version.tar.gz"
rpmbuild -bb --quiet --define "_topdir $work" --define "stunwall_version $version" "$root/systemd/rpm/stunwall.spec" \
    >"$work/log" 2>&1 || { tail -n 30 "$work/log" >&2; fail "rpmbuild failed, see above"; }
for file in "$work"/RPMS/*/*.rpm; do
    cp "$file" "$folder"
    printf '%s\n' "$folder/${file##*/}"
done
