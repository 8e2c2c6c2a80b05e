"""The folder that STASHHOG_HOME names."""

from pathlib import Path

import pytest

from stashhog_core.errors import ConfigurationError
from stashhog_core.settings import make_home_folder


def test_folder_is_made_with_all_it_lies_in(tmp_path: Path) -> None:
    """And may be there already."""
    for _ in range(2):
        make_home_folder(tmp_path / "a" / "b")

    assert (tmp_path / "a" / "b").is_dir()


def test_home_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """In one sentence, with the setting to mend."""
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match=r"cannot be made.*STASHHOG_HOME"):
        make_home_folder(tmp_path / "file" / "home")
