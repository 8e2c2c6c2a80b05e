"""Paths of other machines, and names that are not UTF-8."""

import os
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stashhog_core.paths import (
    Mounts,
    PathMap,
    from_printable,
    from_text,
    is_below,
    printable,
    to_bytes,
    to_text,
)

_NAMES = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="/\0"),
    min_size=1,
    max_size=6,
).filter(lambda name: name not in {".", ".."})
_SIMPLE = st.text(string.ascii_lowercase, min_size=1, max_size=2)
_FILE_NAMES = (
    st.binary(min_size=1, max_size=300)
    .filter(lambda raw: not set(raw) & {*range(32), 127, ord("/")})
    .filter(lambda raw: raw not in {b".", b".."})
    .map(os.fsdecode)
)


def _paths(names: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(names, min_size=1, max_size=4).map(lambda n: "/" + "/".join(n))


@pytest.mark.parametrize(
    ("prefixes", "remote", "local"),
    [
        pytest.param({"/data": "/mnt"}, "/data/a.mp4", "/mnt/a.mp4", id="plain"),
        pytest.param({"/data": "/mnt"}, "/data", "/mnt", id="the prefix itself"),
        pytest.param({"/data/": "/mnt/"}, "/data/a", "/mnt/a", id="slashes at ends"),
        pytest.param({"/data": "/mnt"}, "/database/a", "/database/a", id="whole names"),
        pytest.param({"/data": "/"}, "/data/a", "/a", id="onto the root"),
        pytest.param({"/": "/mnt"}, "/data/a", "/mnt/data/a", id="from the root"),
        pytest.param(
            {"/d": "/x", "/d/e": "/y"}, "/d/e/f", "/y/f", id="the longest prefix wins"
        ),
        pytest.param({"/data": "/mnt"}, "/DATA/a", "/DATA/a", id="case counts"),
        pytest.param(
            {r"D:\Media": "/mnt"}, r"d:\media\A\b.mp4", "/mnt/A/b.mp4", id="Windows"
        ),
        pytest.param(
            {"D:/Media": "/mnt"}, r"D:\Media\a.mp4", "/mnt/a.mp4", id="either slash"
        ),
        pytest.param({"D:\\": "/mnt"}, r"D:\a.mp4", "/mnt/a.mp4", id="a whole drive"),
        pytest.param({"D:": "/mnt"}, r"D:a.mp4", r"D:a.mp4", id="drive-relative"),
        pytest.param(
            {r"\\nas\v": "/mnt"}, r"\\NAS\v\a.mp4", "/mnt/a.mp4", id="network share"
        ),
        pytest.param(
            {"/data": "/mnt"}, "/data/a\\b.mp4", "/mnt/a\\b.mp4", id="backslash in name"
        ),
    ],
)
def test_paths_become_local_by_their_prefix(
    prefixes: dict[str, str], remote: str, local: str
) -> None:
    """Only whole names match, the longest prefix wins, Windows has its own rules."""
    assert PathMap(prefixes).to_local(remote) == local


@pytest.mark.parametrize(
    ("prefixes", "local", "remote"),
    [
        pytest.param({"/data": "/mnt"}, "/mnt/a.mp4", "/data/a.mp4", id="plain"),
        pytest.param({"/data": "/mnt"}, "/other/a", "/other/a", id="no prefix"),
        pytest.param({"/data": "/mnt"}, "/mnt2/a", "/mnt2/a", id="whole names"),
        pytest.param({"/": "/mnt"}, "/mnt/a", "/a", id="from the root"),
        pytest.param(
            {"/a": "/x", "/b": "/x/y"}, "/x/y/z", "/b/z", id="the longest local wins"
        ),
        pytest.param(
            {"/a": "/x", "/a/b": "/y"}, "/x/b/c", "/x/b/c", id="hidden by a prefix"
        ),
        pytest.param(
            {r"D:\Media": "/mnt"}, "/mnt/A/b.mp4", r"D:\Media\A\b.mp4", id="Windows"
        ),
        pytest.param(
            {"D:/Media": "/mnt"}, "/mnt/b.mp4", "D:/Media/b.mp4", id="slash kept"
        ),
    ],
)
def test_paths_become_remote_as_the_other_machine_writes_them(
    prefixes: dict[str, str], local: str, remote: str
) -> None:
    """The remote form is one that leads back, with the remote's own separators."""
    assert PathMap(prefixes).to_remote(local) == remote


@given(st.dictionaries(_paths(_SIMPLE), _paths(_SIMPLE), max_size=4), _paths(_SIMPLE))
def test_a_remote_form_always_leads_back(prefixes: dict[str, str], path: str) -> None:
    """What `to_remote` changed, `to_local` changes back to the same path."""
    mapping = PathMap(prefixes)

    remote = mapping.to_remote(path)

    assert remote == path or mapping.to_local(remote) == path


@given(_paths(_SIMPLE), _paths(_SIMPLE), _paths(_NAMES))
def test_names_below_the_prefix_stay_as_they_are(
    remote: str, local: str, rest: str
) -> None:
    """Any name that a file can have passes unchanged, both ways."""
    mapping = PathMap({remote: local})

    assert mapping.to_local(remote + rest) == local + rest
    assert mapping.to_remote(local + rest) == remote + rest


@given(_paths(_NAMES))
def test_without_prefixes_nothing_changes(path: str) -> None:
    """No map: both machines see the same paths."""
    assert PathMap({}).to_local(path) == path
    assert PathMap({}).to_remote(path) == path


@pytest.mark.parametrize(
    ("path", "folder", "below"),
    [
        ("/a/b", "/a", True),
        ("/a", "/a/", True),
        ("/a/b", "/", True),
        ("/ab", "/a", False),
        ("/A/b", "/a", False),
        ("d:/in/x", "D:\\In", True),
        (r"\\NAS\v\x", r"\\nas\v", True),
    ],
)
def test_what_is_below_a_folder(path: str, folder: str, below: bool) -> None:
    """Whole names count; Windows knows no case and both slashes."""
    assert is_below(path, folder) is below


TABLE = b"""\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 8:2 / /mnt/films rw - xfs /dev/sdb1 rw
31 30 0:50 / /mnt/films/pool rw master:2 propagate_from:3 - fuse.mergerfs 1:2 rw
32 22 0:51 / /mnt/my\\040drive rw - fuse.rclone remote: rw
33 22 0:52 / /mnt/tab\\011caf\xe9\xc2\x85x rw - tmpfs tmpfs rw
34 22 8:3 /films /srv rw - ext4 /dev/sdc1 rw
35 22 8:4 / /srv rw - btrfs /dev/sdd1 rw
36 34 8:5 / /srv/hidden rw - ext4 /dev/sde1 rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("/", 22),
        ("/home/me", 22),
        ("/mnt/films", 30),
        ("/mnt/films/pool/a", 31),
        ("/mnt/films/pooled", 30),
        ("/mnt/filmsother", 22),
        ("/mnt/my drive/a", 32),
        (os.fsdecode(b"/mnt/tab\tcaf\xe9\xc2\x85x/a"), 33),
        pytest.param("/srv/a", 35, id="the later one at a place hides the earlier"),
        pytest.param("/srv/hidden/a", 35, id="and what was mounted below that"),
    ],
)
def test_path_lies_on_the_deepest_mount_that_is_seen(path: str, number: int) -> None:
    """Names of mount points may hold any bytes; what is hidden is not there."""
    mount = Mounts(TABLE).holding(path)

    assert mount is not None
    assert mount.id == number


def test_mounts_below_a_folder() -> None:
    """Those that can be seen there, itself left out."""
    mounts = Mounts(TABLE)

    assert [mount.id for mount in mounts.below("/mnt/films")] == [31]
    assert sorted(mount.id for mount in mounts.below("/")) == [30, 31, 32, 33, 35]


def test_the_machines_own_list_is_read() -> None:
    """The root is mounted, and holds this file, or something deeper does."""
    mounts = Mounts.now()

    assert mounts is not None
    mount = mounts.holding(os.path.realpath(__file__))
    assert mount is not None
    assert os.path.realpath(__file__).startswith(mount.point)


@given(st.binary(max_size=40).map(os.fsdecode) | st.text())
def test_printable_text_can_be_stored_anywhere(name: str) -> None:
    """It is UTF-8, without NUL and line breaks; plain names stay as they are."""
    text = printable(name)

    assert text.encode("utf-8").decode("utf-8") == text
    assert not any(ord(letter) < 32 for letter in text)


@given(_FILE_NAMES.filter(lambda name: "\\" not in name))
def test_the_path_comes_back_from_its_printable_form(name: str) -> None:
    """So that a file whose name is not UTF-8 is found again."""
    assert from_printable(printable(f"/library/{name}")) == Path(f"/library/{name}")


@given(st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name))
def test_every_path_comes_back_from_its_text(name: bytes) -> None:
    """Any bytes come back, and the text is one that a database takes."""
    text = to_text(os.fsdecode(name))

    text.encode("utf-8")
    assert to_bytes(text) == name
    assert os.fsencode(from_text(text)) == name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("plain ü.mp4".encode(), "plain ü.mp4", id="utf-8 stays"),
        pytest.param(b"caf\xe9", r"caf\xe9", id="other bytes"),
        pytest.param(rb"a\xe9", r"a\\xe9", id="backslash"),
    ],
)
def test_how_a_path_is_written_as_text(name: bytes, text: str) -> None:
    """UTF-8 is shown as it is; only what is none, and backslashes, are escaped."""
    assert to_text(os.fsdecode(name)) == text
