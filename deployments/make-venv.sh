#!/usr/bin/env bash
# Makes .venv with the given Python; says what to do where that cannot work.
set -euo pipefail
python="$1"
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "StashHog needs Python 3.11 or newer; '$python' is not: make … PYTHON=python3.12" >&2
  exit 1
fi
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
  # Debian and Ubuntu ship venv as a package of its own.
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq && apt-get install -y -qq python3-venv
  else
    echo "Python's venv module is missing: sudo apt-get install python3-venv" >&2
    exit 1
  fi
fi
"$python" -m venv .venv
