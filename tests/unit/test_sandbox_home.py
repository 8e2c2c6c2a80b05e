"""Where the sandbox of `make run`, `make demo` and `make down` is."""

from pathlib import Path

from sandbox.run import DEMO_SETTINGS, sandbox_home
from stashhog_core.settings import Settings


def test_the_demo_is_found_from_its_own_settings(tmp_path: Path) -> None:
    """A terminal may use them, as `make demo` says: `make down` ends the same demo."""
    home = sandbox_home(Settings(home=tmp_path))
    home.mkdir()
    (home / DEMO_SETTINGS).touch()

    assert home == tmp_path / "sandbox"
    assert sandbox_home(Settings(home=home)) == home
    assert sandbox_home(Settings(home=tmp_path)) == home
