#!/bin/sh
# Installs stunwall and the Python packages that it needs: install.sh PIP [OPTION...], by the pip of an environment and
# with further options for it. Nothing is taken whose hash is not in a file of this folder, and what only builds the
# packages is not left there.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
pip=$1
shift
builder=$(mktemp -d)
trap 'rm -rf -- "$builder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1
"$pip" install --require-hashes --no-compile --target "$builder" -r "$root/systemd/python/build-requirements.txt"
# pip's own environment for builds would fetch what is in no file; what it finds here instead is not installed.
export PYTHONPATH="$builder"
"$pip" install --require-hashes --no-build-isolation --ignore-installed "$@" -r "$root/systemd/python/requirements.txt"
"$pip" install --no-index --no-deps --no-build-isolation --ignore-installed "$@" "$root"
