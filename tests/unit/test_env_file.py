"""The file `.env`: values come back as they were, and nothing else changes."""

import io
import stat
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st

from stashhog.env_file import differences, with_variables, write_private
from stashhog_core.errors import ConfigurationError

NAMES = st.sampled_from(["STASHHOG_STASH__URL", "STASHHOG_STASH__PATH_MAP", "A", "B"])
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0\r$"), max_size=30)


def read(text: str) -> dict[str, str | None]:
    return dict(dotenv_values(stream=io.StringIO(text)))


@given(st.dictionaries(NAMES, VALUES), st.dictionaries(NAMES, VALUES))
def test_values_come_back(old: dict[str, str], new: dict[str, str]) -> None:
    """Whatever stands in them; or the one sentence says that the file cannot."""
    before = with_variables("", old)

    assert read(with_variables(before, new)) == {**old, **new}


def test_a_value_that_no_file_can_hold() -> None:
    """What would be taken for a variable: the sentence says where else to set it."""
    with pytest.raises(ConfigurationError, match="cannot hold the value of A"):
        with_variables("", {"A": "pass${HOME}"})


@pytest.mark.parametrize(
    "value", ['["/a b"]', "p'a\\s\"s", "#no comment", " x ", "a=b"]
)
def test_common_values_can_be_held(value: str) -> None:
    """Lists, passwords and folders with blanks among them."""
    assert read(with_variables("", {"A": value})) == {"A": value}


def test_all_other_lines_stay() -> None:
    """Comments, empty lines, other variables, and the order."""
    before = "# mine\n\nexport X=1\nA=old # note\nB='two\nlines'\n# end"

    after = with_variables(before, {"A": "new", "C": "3"})

    assert after == "# mine\n\nexport X=1\nA=new\nB='two\nlines'\n# end\nC=3\n"


def test_a_variable_that_stands_twice_stands_once() -> None:
    """The last one counted before: an old one must not come back."""
    assert with_variables("A=1\nB=2\nA=3\n", {"A": "4"}) == "A=4\nB=2\n"


def test_differences_show_no_secret() -> None:
    """Passwords, keys, and the address of the database."""
    before = with_variables("", {"STASHHOG_STASH__API_KEY": "old-key", "X": "1"})
    after = with_variables(
        before,
        {
            "STASHHOG_STASH__API_KEY": "new-key",
            "STASHHOG_DATABASE__URL": "postgresql://u:secret@h/n",
            "STASHHOG_STASH__URL": "http://nas:9999",
        },
    )
    shown = "\n".join(differences(before, after))

    assert "+ STASHHOG_STASH__URL=http://nas:9999" in shown
    assert "+ STASHHOG_DATABASE__URL=***" in shown
    assert not any(word in shown for word in ("old-key", "new-key", "secret", "X=1"))


def test_a_file_of_one_account(tmp_path: Path) -> None:
    """Also if it could be read by all before; a link stays one."""
    target, link = tmp_path / "real", tmp_path / ".env"
    target.write_text("A=1\n")
    target.chmod(0o644)
    link.symlink_to(target)

    write_private(link, "A=2\n")

    assert link.is_symlink()
    assert target.read_text() == "A=2\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    """One sentence, and nothing is left."""
    with pytest.raises(ConfigurationError, match="--file"):
        write_private(tmp_path / "missing" / ".env", "A=1\n")
