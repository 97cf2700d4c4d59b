#!/bin/sh
# Builds Arch's package: build.sh [--version V] FOLDER. What is in it comes from stage.sh. Not as root, which makepkg
# refuses; further options for makepkg may stand in MAKEPKG_OPTIONS.
set -eu

# shellcheck source=systemd/package.sh
. "$(dirname -- "$0")/../package.sh"
command -v makepkg >/dev/null || fail "makepkg is missing: sudo pacman -S base-devel"

pack_sources "$work/stunwall-$version.tar.gz"
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
