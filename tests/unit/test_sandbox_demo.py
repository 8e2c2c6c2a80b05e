"""What `make demo` says."""

from pathlib import Path

from sandbox.demo import commands_to_use


def test_commands_that_reach_the_demo() -> None:
    """A variable of the environment goes before the file of settings."""
    file = Path("/home/me/my demo.env")
    export = "export STASHHOG_ENV_FILE='/home/me/my demo.env'"

    assert commands_to_use(file, []) == [export]
    assert commands_to_use(file, ["STASHHOG_HOME", "PREFECT_API_URL"]) == [
        "unset PREFECT_API_URL STASHHOG_HOME",
        export,
    ]
