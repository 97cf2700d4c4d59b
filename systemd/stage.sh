#!/bin/sh
# Puts what every package contains into the folder TREE: stage.sh [--units FOLDER] [--sbin FOLDER] [--zsh FOLDER] TREE.
# The options say where the distribution has units, the daemon's command and completions for zsh. The Python packages
# that stunwall needs lie in its own directory, so the result fits the Python that it was made with.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
fail() { printf 'stage.sh: %s\n' "$*" >&2; exit 1; }

units=/usr/lib/systemd/system sbin=/usr/sbin zsh=/usr/share/zsh/site-functions
while [ $# -gt 1 ]; do
    case $1 in
        --units) units=$2 ;;
        --sbin) sbin=$2 ;;
        --zsh) zsh=$2 ;;
        *) fail "unknown option $1" ;;
    esac
    shift 2
done
[ $# = 1 ] || fail "usage: stage.sh [--units FOLDER] [--sbin FOLDER] [--zsh FOLDER] TREE"
mkdir -p "$1"
tree=$(CDPATH='' cd -- "$1" && pwd)
python=/usr/bin/python3
home=/usr/lib/stunwall
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
umask 022

put() { # put MODE FILE WHERE: with the package's home in place of install.sh's
    mkdir -p "$tree$(dirname -- "$3")"
    sed "s|/opt/stunwall|$home|g" "$2" >"$tree$3"
    chmod "$1" "$tree$3"
}

# From its own builder, not the one of a virtual environment: what is compiled must fit the system's Python.
"$python" -m venv "$work/venv"
# Of what is compiled, neither the time nor the place may show: no debugging information, nothing compiled before.
CFLAGS=-g0 PIP_NO_CACHE_DIR=1 PIP_QUIET=2 \
    "$root/systemd/python/install.sh" "$work/venv/bin/pip" --no-compile --target "$tree$home/lib"
lib=$tree$home/lib
rm -rf "${lib:?}/bin" "$lib/share"
find "$lib" -name '*.so' -exec strip --strip-unneeded {} +
find "$lib" -type f -exec chmod 644 {} +
find "$lib" -type d -exec chmod 755 {} +
find "$lib" -type d \( -name tests -o -name __pycache__ -o -name .agents \) -prune -exec rm -rf {} +
# pip's notes name the folder of this build, and files that are no longer there.
for note in RECORD INSTALLER REQUESTED direct_url.json; do
    find "$lib" -path "*.dist-info/$note" -delete
done

mkdir -p "$tree$home/bin" "$tree/usr/bin" "$tree$sbin" "$tree/etc/stunwall/conf.d"
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
ln -s ../lib/stunwall/bin/stunwalld "$tree$sbin/stunwalld"
for file in "$root"/rules/*.nft; do put 644 "$file" "$home/$(basename "$file")"; done
put 755 "$root/systemd/stopped.sh" $home/stopped.sh
for unit in "$root"/systemd/stunwall*.service "$root"/systemd/*.path "$root"/systemd/*.target "$root"/systemd/*.timer; do
    case $unit in
        *-notify.service) put 644 "$unit" /usr/lib/systemd/user/stunwall-notify.service ;;
        *) put 644 "$unit" "$units/$(basename "$unit")" ;;
    esac
done
put 644 "$root/systemd/stunwall-notify.desktop" /usr/share/applications/stunwall-notify.desktop
put 644 "$root/systemd/org.stunwall.policy" /usr/share/polkit-1/actions/org.stunwall.policy
put 644 "$root/systemd/prometheus/stunwall.rules.yml" $home/stunwall.rules.yml
put 644 "$root/systemd/grafana/stunwall.json" $home/stunwall.json
put 644 "$root/systemd/nftables-drop-in.conf" "$units/nftables.service.d/stunwall.conf"
put 644 "$root/systemd/sysusers.conf" /usr/lib/sysusers.d/stunwall.conf
put 644 "$root/systemd/tmpfiles.conf" /usr/lib/tmpfiles.d/stunwall.conf
put 644 "$root/systemd/stunwall.catalog" /usr/lib/systemd/catalog/stunwall.catalog
put 644 "$root/systemd/stunwall.toml" /etc/stunwall/stunwall.toml
for page in "$root"/systemd/man/*.[158]; do
    put 644 "$page" "/usr/share/man/man${page##*.}/$(basename "$page")"
done
put 644 "$root/systemd/completion/stunwall.bash" /usr/share/bash-completion/completions/stunwall
ln -s stunwall "$tree/usr/share/bash-completion/completions/stunwalld"
put 644 "$root/systemd/completion/_stunwall" "$zsh/_stunwall"
put 644 "$root/systemd/completion/stunwall.fish" /usr/share/fish/vendor_completions.d/stunwall.fish
ln -s stunwall.fish "$tree/usr/share/fish/vendor_completions.d/stunwalld.fish"
for document in README.md SECURITY.md; do put 644 "$root/$document" "/usr/share/doc/stunwall/$document"; done
put 644 "$root/systemd/python/sbom.cdx.json" /usr/share/doc/stunwall/sbom.cdx.json
