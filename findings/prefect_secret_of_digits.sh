#!/bin/sh
# A Secret block of Prefect gives a password of digits back as a number.
#
# The value of a Secret is a text unless another type is asked for, so one expects the
# text that was put in. `get()` reads it as JSON first. A PIN or a numeric API key
# comes back as an `int`, `1e5` as 100000.0, `true` as True and `null` as None. The
# client that gets the value fails, or sends another password; `null` looks like no
# password at all. Only what is no JSON, `0123` for example, stays a text. Saving and
# loading changes nothing. `value.get_secret_value()` gives the text.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile prefect==3.8.8 'fastapi<0.151' 'sqlalchemy<2.1'
cd "$folder"
export PREFECT_HOME="$folder/home" PREFECT_LOGGING_LEVEL=CRITICAL
export PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1
"$folder/venv/bin/python" - <<'PYTHON'
import prefect
from prefect.blocks.system import Secret
from prefect.testing.utilities import prefect_test_harness

TEXTS = ["open sesame", "0123", "4711", "1e5", "true", "null", '"quoted"']
given = {text: Secret(value=text).get() for text in TEXTS}
kept = [Secret(value=text).value.get_secret_value() for text in TEXTS]
with prefect_test_harness(server_startup_timeout=100):
    Secret(value="4711").save("pin")
    loaded = Secret.load("pin").get()
print(f"Prefect {prefect.__version__}: {given}; loaded {loaded!r}")
expected = ["open sesame", "0123", 4711, 100000.0, True, None, "quoted"]
assert list(given.values()) == expected, given
assert type(given["4711"]) is int and given["true"] is True, given
assert type(loaded) is int and loaded == 4711, loaded
assert kept == TEXTS, kept
PYTHON
