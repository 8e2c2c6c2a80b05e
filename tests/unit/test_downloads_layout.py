"""Where in the library a download goes."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stashhog_core.downloads.layout import Layout
from stashhog_core.downloads.sources import Entry
from stashhog_core.errors import ItemError


def _entry(name: str = "Film", category: str = "", key: str = "abc") -> Entry:
    path = Path("/downloads/x")
    return Entry(key, name, path, path, category=category)


@pytest.mark.parametrize(
    ("template", "category", "folder"),
    [
        pytest.param("{name}", "stash", ("Film",), id="the default"),
        pytest.param("{category}/{name}", "stash", ("stash", "Film"), id="category"),
        pytest.param("{category}/{name}", "", ("Film",), id="no category"),
        pytest.param("{category}/{name}", "a/b", ("a", "b", "Film"), id="deep"),
        pytest.param("in/{name} [{hash}]", "", ("in", "Film [abc]"), id="own words"),
    ],
)
def test_a_folder_goes_where_the_template_says(
    template: str, category: str, folder: tuple[str, ...]
) -> None:
    """A part that comes out empty is left away; a deep category is several folders."""
    assert Layout(template).folder(_entry(category=category)) == folder


@pytest.mark.parametrize(
    ("name", "file_name", "placed"),
    [
        pytest.param("film.mkv", "film.mkv", "film.mkv", id="same name"),
        pytest.param("Renamed", "film.mkv", "Renamed.mkv", id="renamed"),
        pytest.param("Film.1080p", "film.mkv", "Film.1080p.mkv", id="dots in the name"),
        pytest.param("Film.MKV", "film.mkv", "Film.MKV", id="other case"),
        pytest.param("Renamed", "film", "Renamed", id="no extension"),
        pytest.param("Renamed", ".film", "Renamed", id="hidden, no extension"),
        pytest.param("x" * 254, "film.mkv", "film.mkv", id="too long with it"),
    ],
)
def test_a_single_file_keeps_its_extension(
    name: str, file_name: str, placed: str
) -> None:
    """It is called as the download is, whatever it was called on the disk."""
    layout = Layout("{category}/{name}")

    assert layout.file(_entry(name, "stash"), file_name) == ("stash", placed)


@pytest.mark.parametrize("category", ["..", "a/../b", "/etc", "a//b", "a\nb", "a\0"])
def test_a_hostile_category_is_no_way_out(category: str) -> None:
    """The server's word is not taken for a path."""
    with pytest.raises(ItemError):
        Layout("{category}/{name}").folder(_entry(category=category))


_WORDS = st.text() | st.binary(max_size=300).map(os.fsdecode)


@given(
    st.sampled_from(["{name}", "{category}/{name}", "a/{hash}/{category}-{name}"]),
    _WORDS,
    _WORDS,
    _WORDS,
)
def test_every_place_is_below_the_root(
    template: str, name: str, category: str, file_name: str
) -> None:
    """Whatever a server says, the path stays in the library, or is refused."""
    root = Path("/library")
    layout = Layout(template)
    entry = _entry(name, category, key="0" * 40)
    for place in (layout.folder, lambda entry: layout.file(entry, file_name)):
        try:
            names = place(entry)
        except ItemError:
            continue
        target = Path(os.path.normpath(root.joinpath(*names)))

        assert target.is_relative_to(root)
        assert len(target.relative_to(root).parts) == len(names) > 0
