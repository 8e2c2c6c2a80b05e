"""File names that come from strangers, and the places they get in the library."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stashhog_core.downloads.names import (
    LONGEST_NAME_BYTES,
    LibraryLayout,
    check_name,
    split_names,
    with_mark,
)
from stashhog_core.downloads.sources import Entry
from stashhog_core.errors import ItemError

_FILE_NAMES = (
    st.binary(min_size=1, max_size=300)
    .filter(lambda raw: not set(raw) & {*range(32), 127, ord("/")})
    .filter(lambda raw: raw not in {b".", b".."})
    .map(os.fsdecode)
)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("../film.mp4", id="upwards"),
        pytest.param("a/../../film.mp4", id="upwards inside"),
        pytest.param("/etc/film.mp4", id="absolute"),
        pytest.param("a//film.mp4", id="empty name"),
        pytest.param("./film.mp4", id="dot"),
        pytest.param("", id="empty"),
        pytest.param("a/", id="slash at the end"),
        pytest.param("film\0.mp4", id="NUL"),
        pytest.param("film\n.mp4", id="line break"),
        pytest.param("film\x7f.mp4", id="delete"),
        pytest.param("film\ud800.mp4", id="half a character"),
    ],
)
def test_names_that_could_do_harm_are_refused(path: str) -> None:
    """Such a path never becomes a place in the library; the reason can be shown."""
    with pytest.raises(ItemError) as caught:
        split_names(path)

    assert str(caught.value).isprintable()


@given(st.text())
def test_whatever_passes_stays_below_its_folder(path: str) -> None:
    """A path that is let through names something strictly below any root."""
    try:
        names = split_names(path)
    except ItemError:
        return
    root = Path("/library")
    target = Path(os.path.normpath(root.joinpath(*names)))

    assert target.is_relative_to(root)
    assert target != root
    assert len(target.relative_to(root).parts) == len(names)


@given(_FILE_NAMES)
def test_every_other_file_name_passes_unchanged(name: str) -> None:
    """UTF-8 or not, and however long: how long one may be, the target decides."""
    assert check_name(name) == name


@given(_FILE_NAMES, st.sampled_from(["1a2b3c4d", "1a2b3c4d5e6f7081"]))
def test_a_marked_name_is_a_file_name_with_the_same_extension(
    name: str, mark: str
) -> None:
    """The mark never makes a name too long, and keeps what says the type."""
    marked = with_mark(name, mark)

    assert check_name(marked) == marked
    assert mark in marked
    assert len(os.fsencode(marked)) <= LONGEST_NAME_BYTES
    extension = os.path.splitext(name)[1]  # noqa: PTH122 - a name, not a path
    if len(os.fsencode(extension)) <= 32:
        assert marked.endswith(f".{mark}{extension}")


def test_a_marked_name_stays_utf8() -> None:
    """A long name is cut between characters, not inside one."""
    marked = with_mark("ä" * 125 + ".mp4", "1a2b3c4d")

    assert marked.encode("utf-8")
    assert marked.endswith("ä.1a2b3c4d.mp4")


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
    assert LibraryLayout(template).folder(_entry(category=category)) == folder


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
    layout = LibraryLayout("{category}/{name}")

    assert layout.file(_entry(name, "stash"), file_name) == ("stash", placed)


@pytest.mark.parametrize("category", ["..", "a/../b", "/etc", "a//b", "a\nb", "a\0"])
def test_a_hostile_category_is_no_way_out(category: str) -> None:
    """The server's word is not taken for a path."""
    with pytest.raises(ItemError):
        LibraryLayout("{category}/{name}").folder(_entry(category=category))


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
    layout = LibraryLayout(template)
    entry = _entry(name, category, key="0" * 40)
    for place in (layout.folder, lambda entry: layout.file(entry, file_name)):
        try:
            names = place(entry)
        except ItemError:
            continue
        target = Path(os.path.normpath(root.joinpath(*names)))

        assert target.is_relative_to(root)
        assert len(target.relative_to(root).parts) == len(names) > 0
