#!/bin/sh
# Brings the files of this folder up to date, and prints what has changed: requirements.txt, what stunwall needs, and
# build-requirements.txt, what builds it, with the hashes of all files of each version; sbom.cdx.json, the bill of
# materials. Needs the network, and what ../install.sh installs.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
here=$root/systemd/python
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
/usr/bin/python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check uv cyclonedx-bom

# For every Python from the oldest on, and every processor; what only other systems need is left out.
oldest=$(sed -n 's/^requires-python = ">=\(.*\)"$/\1/p' "$root/pyproject.toml")
pin() { # pin FILE SOURCE: FILE anew, from what SOURCE asks for
    {
        echo "# Made by update.sh. A version is installed only if its file has one of these hashes."
        "$work/venv/bin/uv" --no-config pip compile --quiet --universal --python-version "$oldest" --generate-hashes \
            --no-header --no-annotate "$2" | awk '/==/ { other = /sys_platform == .win32./ } !other'
    } >"$work/new"
    grep -o '^[^#= ]*==[^ ;]*' "$here/$1" 2>/dev/null | sort >"$work/old.txt" || true
    grep -o '^[^#= ]*==[^ ;]*' "$work/new" | sort >"$work/new.txt"
    diff -U 0 --label "$1" --label "$1" "$work/old.txt" "$work/new.txt" | grep '^[+-][^+-]' | sed "s|^|$1: |" || true
    cat "$work/new" >"$here/$1"
}

pin requirements.txt "$root/pyproject.toml"
# What the build of stunwall asks for, and that of netfilterqueue, which is compiled.
{
    sed -n 's/^requires = \["\(.*\)"\]$/\1/p' "$root/pyproject.toml"
    printf '%s\n' cython setuptools wheel
} >"$work/build.in"
pin build-requirements.txt "$work/build.in"

# What a package contains is installed as there, into an environment that has nothing else.
/usr/bin/python3 -m venv --without-pip "$work/shipped"
modules=$("$work/shipped/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
PIP_QUIET=2 "$here/install.sh" "$work/venv/bin/pip" --no-compile --target "$modules"
rm -rf "$modules"/stunwall-*.dist-info # it is what the list is about
"$work/venv/bin/cyclonedx-py" environment --pyproject "$root/pyproject.toml" --output-reproducible --output-file "$work/sbom" \
    "$work/shipped/bin/python"
"$work/venv/bin/python" - "$work/sbom" >"$here/sbom.cdx.json" <<END
import json, sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

with open(sys.argv[1]) as file:
    bom = json.load(file)
# Addresses are not needed to know what it is: each has its name, version and package URL.
for part in (*bom["components"], *bom["metadata"]["tools"]["components"]):
    part.pop("externalReferences", None)
bom["metadata"]["component"].pop("externalReferences", None)
text = json.dumps(bom, indent=1, sort_keys=True)
if wrong := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
    sys.exit(f"update.sh: {wrong}")
print(text)
END
