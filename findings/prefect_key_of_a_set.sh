#!/bin/sh
# A task of Prefect with a set among its inputs finds its stored result only by chance.
#
# The cache policy INPUTS promises the stored result for equal inputs, so one expects
# that a run which is retried does not repeat a finished task. Prefect writes a set
# down in the order in which Python goes through it, and for texts this order differs in
# every process: the key of {"1", "2", "3"} is another one after a restart. The policy
# DEFAULT contains INPUTS. Nothing warns; the task runs again. Dictionaries are sorted,
# and lists and tuples keep their order.
#
# Installs the pinned package into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile prefect==3.9.1
cd "$folder"
PREFECT_HOME="$folder/home" "$folder/venv/bin/python" - <<'PYTHON'
import os
import subprocess
import sys

import prefect

KEYS = """
from prefect.cache_policies import INPUTS

names = [f"scene {number}" for number in range(20)]
for given in (set(names), frozenset(names), dict.fromkeys(names), names):
    key = INPUTS.compute_key(task_ctx=None, inputs={"given": given}, flow_parameters={})
    print(key)
"""
found = {"set": set(), "frozenset": set(), "dict": set(), "list": set()}
for seed in ("1", "2", "3"):
    printed = subprocess.run(
        [sys.executable, "-c", KEYS],
        env=os.environ | {"PYTHONHASHSEED": seed},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for keys, key in zip(found.values(), printed.split(), strict=True):
        keys.add(key)
numbers = {kind: len(keys) for kind, keys in found.items()}
print(f"Prefect {prefect.__version__}: keys of equal inputs in three processes {numbers}")
assert numbers == {"set": 3, "frozenset": 3, "dict": 1, "list": 1}, numbers
PYTHON
