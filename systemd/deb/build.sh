#!/bin/sh
# Builds the Debian package: build.sh [--version V] FOLDER. The Python packages that stunwall needs lie in its own
# directory, so it fits the Python that it was built with.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
fail() { printf 'build.sh: %s\n' "$*" >&2; exit 1; }

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/pyproject.toml")
if [ "${1-}" = --version ]; then version=${2-}; shift 2 || fail "--version needs a version"; fi
[ $# = 1 ] || fail "usage: build.sh [--version V] FOLDER"
mkdir -p "$1"
folder=$(CDPATH='' cd -- "$1" && pwd)
for tool in dpkg-deb dpkg-shlibdeps strip gzip gcc; do
    command -v $tool >/dev/null || fail "$tool is missing: sudo apt install dpkg-dev binutils gcc libc6-dev" \
        "python3-dev python3-venv libnetfilter-queue-dev"
done

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH
# The maintainer is whoever builds the package: the same variables and fallback as debchange(1).
maintainer="${DEBFULLNAME:-$(id -un)} <${DEBEMAIL:-$(id -un)@$(uname -n)}>"
python=/usr/bin/python3
home=/usr/lib/stunwall
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
tree=$work/stunwall
umask 022

put() { # put MODE FILE WHERE: with the package's home in place of install.sh's
    mkdir -p "$tree$(dirname -- "$3")"
    sed "s|/opt/stunwall|$home|g" "$2" >"$tree$3"
    chmod "$1" "$tree$3"
}
pack() { # pack FILE WHERE: as `put`, compressed as Debian wants it
    put 644 "$1" "$2"
    gzip -9n "$tree$2"
}

# From its own builder, not the one of a virtual environment: what is compiled must fit the system's Python.
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --target "$tree$home/lib" "$root"
rm -rf "$tree$home/lib/bin" "$tree$home/lib/share"
find "$tree$home/lib" -name '*.so' -exec strip --strip-unneeded {} +
find "$tree$home/lib" -type f -exec chmod 644 {} +
find "$tree$home/lib" -type d \( -name tests -o -name __pycache__ -o -name .agents \) -prune -exec rm -rf {} +

mkdir -p "$tree$home/bin" "$tree/usr/bin" "$tree/usr/sbin" "$tree/etc/stunwall/conf.d"
for command in stunwall:stunwall.cli stunwalld:stunwall.daemon.main; do
    cat >"$tree$home/bin/${command%%:*}" <<END
#!/usr/bin/python3 -I
import sys

sys.path.insert(0, "$home/lib")
from ${command#*:} import main

main()
END
    chmod 755 "$tree$home/bin/${command%%:*}"
done
ln -s ../lib/stunwall/bin/stunwall "$tree/usr/bin/stunwall"
ln -s ../lib/stunwall/bin/stunwalld "$tree/usr/sbin/stunwalld"
for file in "$root"/rules/*.nft; do put 644 "$file" "$home/$(basename "$file")"; done
put 755 "$root/systemd/stopped.sh" $home/stopped.sh
put 644 "$root/systemd/stunwall-wall.service" /lib/systemd/system/stunwall-wall.service
put 644 "$root/systemd/stunwall.service" /lib/systemd/system/stunwall.service
put 644 "$root/systemd/stunwall-check.path" /lib/systemd/system/stunwall-check.path
put 644 "$root/systemd/stunwall-check.service" /lib/systemd/system/stunwall-check.service
put 644 "$root/systemd/stunwall-proof.service" /lib/systemd/system/stunwall-proof.service
put 644 "$root/systemd/stunwall-sealed.target" /lib/systemd/system/stunwall-sealed.target
put 644 "$root/systemd/stunwall-unsealed.target" /lib/systemd/system/stunwall-unsealed.target
put 644 "$root/systemd/stunwall-notify.service" /usr/lib/systemd/user/stunwall-notify.service
put 644 "$root/systemd/stunwall-notify.desktop" /usr/share/applications/stunwall-notify.desktop
put 644 "$root/systemd/org.stunwall.policy" /usr/share/polkit-1/actions/org.stunwall.policy
put 644 "$root/systemd/nftables-drop-in.conf" /lib/systemd/system/nftables.service.d/stunwall.conf
put 644 "$root/systemd/sysusers.conf" /usr/lib/sysusers.d/stunwall.conf
put 644 "$root/systemd/tmpfiles.conf" /usr/lib/tmpfiles.d/stunwall.conf
put 644 "$root/systemd/stunwall.catalog" /usr/lib/systemd/catalog/stunwall.catalog
put 644 "$root/systemd/stunwall.toml" /etc/stunwall/stunwall.toml
put 644 "$root/systemd/apparmor/stunwalld" /etc/apparmor.d/stunwalld
for page in "$root"/systemd/man/*.[158]; do
    pack "$page" "/usr/share/man/man${page##*.}/$(basename "$page")"
done
put 644 "$root/systemd/completion/stunwall.bash" /usr/share/bash-completion/completions/stunwall
ln -s stunwall "$tree/usr/share/bash-completion/completions/stunwalld"
put 644 "$root/systemd/completion/_stunwall" /usr/share/zsh/vendor-completions/_stunwall
put 644 "$root/systemd/completion/stunwall.fish" /usr/share/fish/vendor_completions.d/stunwall.fish
ln -s stunwall.fish "$tree/usr/share/fish/vendor_completions.d/stunwalld.fish"
doc=/usr/share/doc/stunwall
put 644 "$root/README.md" $doc/README.md
put 644 "$root/SECURITY.md" $doc/SECURITY.md
put 644 "$root/systemd/deb/copyright" $doc/copyright
pack "$root/CHANGELOG.md" $doc/changelog
quoted=$(printf '%s' "$maintainer" | sed 's/[&|\\]/\\&/g')
sed "s|@version@|$version|; s|@maintainer@|$quoted|; s|@date@|$(date -Rud "@$SOURCE_DATE_EPOCH")|" "$root/systemd/deb/changelog" >"$work/changelog"
pack "$work/changelog" $doc/changelog.Debian

mkdir "$tree/DEBIAN" "$work/debian"
for script in preinst postinst prerm postrm; do
    install -m 755 "$root/systemd/deb/$script" "$tree/DEBIAN/$script"
done
printf '%s\n' /etc/stunwall/stunwall.toml /etc/apparmor.d/stunwalld >"$tree/DEBIAN/conffiles"
touch "$work/debian/control"
libraries=$(cd "$work" && find "$tree" -name '*.so' -exec dpkg-shlibdeps -O --ignore-missing-info {} + 2>/dev/null)
minor=$("$python" -c 'import sys; print(sys.version_info.minor)')
cat >"$tree/DEBIAN/control" <<END
Package: stunwall
Version: $version
Architecture: $(dpkg --print-architecture)
Maintainer: $maintainer
Section: net
Priority: optional
Installed-Size: $(du -sk "$tree" | cut -f1)
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
find "$tree" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group -Zxz --build "$tree" "$folder" >/dev/null
ls "$folder"/stunwall_"$version"_*.deb
