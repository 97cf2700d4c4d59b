#!/bin/sh
# Builds the Debian package: build.sh [--version V] FOLDER. What is in it, but for Debian's own, comes from stage.sh.
set -eu

# shellcheck source=systemd/package.sh
. "$(dirname -- "$0")/../package.sh"
for tool in dpkg-deb dpkg-shlibdeps strip gzip gcc; do
    command -v $tool >/dev/null || fail "$tool is missing: sudo apt install dpkg-dev binutils gcc libc6-dev" \
        "python3-dev python3-venv libnetfilter-queue-dev"
done

# The maintainer is whoever builds the package: the same variables and fallback as debchange(1).
maintainer="${DEBFULLNAME:-$(id -un)} <${DEBEMAIL:-$(id -un)@$(uname -n)}>"
python=/usr/bin/python3
tree=$work/stunwall

pack() { gzip -9n "$1"; } # as Debian wants it

"$root/systemd/stage.sh" --units /lib/systemd/system --zsh /usr/share/zsh/vendor-completions "$tree"
for page in "$tree"/usr/share/man/man*/*; do pack "$page"; done
doc=$tree/usr/share/doc/stunwall
install -m 644 "$root/systemd/deb/copyright" "$doc/copyright"
install -m 644 "$root/CHANGELOG.md" "$doc/changelog"
install -D -m 644 "$root/systemd/apparmor/stunwalld" "$tree/etc/apparmor.d/stunwalld"
quoted=$(printf '%s' "$maintainer" | sed 's/[&|\\]/\\&/g')
sed "s|@version@|$version|; s|@maintainer@|$quoted|; s|@date@|$(date -Rud "@$SOURCE_DATE_EPOCH")|" "$root/systemd/deb/changelog" >"$doc/changelog.Debian"
pack "$doc/changelog"
pack "$doc/changelog.Debian"

mkdir "$tree/DEBIAN" "$work/debian"
for script in preinst postinst prerm postrm; do
    install -m 755 "$root/systemd/deb/$script" "$tree/DEBIAN/$script"
done
printf '%s\n' /etc/stunwall/stunwall.toml /etc/apparmor.d/stunwalld >"$tree/DEBIAN/conffiles"
touch "$work/debian/control"
libraries=$(cd "$work" && find "$tree" -name '*.so' -exec dpkg-shlibdeps -O --ignore-missing-info {} + 2>/dev/null)
minor=$("$python" -c 'import sys; print(sys.version_info.minor)')
# As dpkg-gencontrol(1) counts, so that the file system of the build does not show.
size=$(find "$tree" -not -path "$tree/DEBIAN*" -printf '%y %s\n' | awk '{ sum += $1 == "f" ? int(($2 + 1023) / 1024) : 1 } END { print sum }')
cat >"$tree/DEBIAN/control" <<END
Package: stunwall
Version: $version
Architecture: $(dpkg --print-architecture)
Maintainer: $maintainer
Section: net
Priority: optional
Installed-Size: $size
Depends: ${libraries#shlibs:Depends=}, libnftables1 (>= 1.0.2), nftables (>= 1.0.2), python3 (>= 3.$minor), python3 (<< 3.$((minor + 1))), systemd
Description: keeps WebRTC from leaking a VPN user's real address
 Any web page can ask a browser to send STUN requests from every network
 interface, and such a request can bypass the VPN, so that the page learns
 the real address. stunwall stops exactly those packets in the kernel,
 whichever browser, program, container or virtual machine sends them, and
 either blocks them or moves them into the VPN. Every attempt is recorded on
 this machine and nowhere else.
END
(cd "$tree" && find . -type f -not -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
find "$tree" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group -Zxz --build "$tree" "$folder" >/dev/null
ls "$folder"/stunwall_"$version"_*.deb
