"""Walking a tree in shares."""

import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stashhog_core.downloads.selection import select_files
from stashhog_core.downloads.watch_folder import list_files
from stashhog_core.file_index.shards import depth_for, share_of
from stashhog_core.file_index.walk import Walk, list_videos
from stashhog_core.settings import STASH_VIDEO_EXTENSIONS, get_settings

DOTTED = {
    "film.mp4": True,
    ".film.mp4": False,
    "._film.mp4": False,
    "..film.mp4": True,
    "...And Justice.mp4": True,
    ".folder/film.mp4": False,
    "...folder/film.mp4": True,
    "folder/.deep/film.mp4": False,
    "folder/..deep/..film.mp4": True,
}
"""Paths, and whether no shard of them is hidden."""

names = st.sampled_from(["a", "b", "c d", "ü", "back\\slash"])
files = st.lists(st.lists(names, max_size=5), max_size=25)


def walked(folder: Path, number: int, shards: int, depth: int) -> tuple[Walk, Counter]:
    """Return what one share of a walk comes across, and how often."""
    walk = Walk()
    share = share_of(folder, number, shards, depth)
    blocks = list_videos(folder, (folder,), walk, _fail, lambda _: None, share)
    lines = b"".join(blocks).decode().splitlines()
    return walk, Counter(line.split("\t")[0] for line in lines)


def _fail(path: str, problem: str) -> None:
    raise AssertionError((path, problem))


@settings(max_examples=60)
@given(files, st.integers(1, 5), st.integers(0, 4))
def test_shares_together_are_the_whole(
    places: list[list[str]], shards: int, depth: int
) -> None:
    """Each file is listed by exactly one share, whatever the tree and the depth."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, place in enumerate(places):
            path = folder.joinpath(*place)
            path.mkdir(parents=True, exist_ok=True)
            (path / f"{number}.mp4").touch()
        (folder / "loop").symlink_to(folder)

        whole, expected = walked(folder, 1, 1, 0)
        shares = [
            walked(folder, shard, shards, depth) for shard in range(1, shards + 1)
        ]

    together: Counter[str] = sum((found for _, found in shares), Counter())
    assert together == expected
    assert set(together.values()) <= {1}
    assert sum(walk.files for walk, _ in shares) == whole.files == len(places)
    assert sum(walk.links_skipped for walk, _ in shares) == whole.links_skipped
    assert all(walk.finished for walk, _ in shares)


def test_scan_listing_and_import_agree_on_what_is_hidden(tmp_path: Path) -> None:
    """One dot hides a file or folder; two or more begin a title."""
    for path in DOTTED:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    visible = {path for path, is_visible in DOTTED.items() if is_visible}

    _, scanned = walked(tmp_path, 1, 1, 0)
    _, in_shares = walked(tmp_path, 1, 1, 2)
    listed = list_files(tmp_path, tmp_path).files
    every = [
        file._replace(relative_path=path) for path in DOTTED for file in listed[:1]
    ]

    assert {path.removeprefix(f"{tmp_path}/") for path in scanned} == visible
    assert in_shares == scanned
    assert {file.relative_path for file in listed} == visible
    assert {file.relative_path for file in select_files(every).take} == visible


def test_scan_and_import_agree_on_what_is_a_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Stash takes by default, and what the setting adds, in whatever case."""
    monkeypatch.setenv("STASHHOG_LIBRARY__EXTRA_VIDEO_EXTENSIONS", '["AVS", "y4m"]')
    get_settings.cache_clear()
    expected = {f"a.{extension}" for extension in (*STASH_VIDEO_EXTENSIONS, "avs")}
    expected |= {"b.Y4M", "b.MKV"}
    for name in (*expected, "c.ts", "c.srt.x", "d.nfo"):
        (tmp_path / name).touch()

    _, scanned = walked(tmp_path, 1, 1, 0)
    listed = list_files(tmp_path, tmp_path).files

    assert {Path(path).name for path in scanned} == expected
    assert {file.relative_path for file in select_files(listed).take} == expected


def test_depth_has_folders_enough_for_all(tmp_path: Path) -> None:
    """It goes as deep as it needs to deal out evenly, and no deeper than the tree."""
    for number in range(100):
        (tmp_path / "one" / "two" / str(number) / "more").mkdir(parents=True)

    depth = depth_for(tmp_path, 3)

    assert depth == 3
    assert depth_for(tmp_path / "one" / "two" / "7", 3) == 1
    assert depth_for(tmp_path / "one" / "two" / "7" / "more", 3) == 0


def test_shares_are_of_about_equal_size(tmp_path: Path) -> None:
    """With many folders no share is left much smaller or larger than the others."""
    for number in range(120):
        path = tmp_path / "films" / f"film {number}"
        path.mkdir(parents=True)
        (path / "film.mp4").touch()
    depth = depth_for(tmp_path, 3)

    sizes = [walked(tmp_path, shard, 3, depth)[0].files for shard in (1, 2, 3)]

    assert sum(sizes) == 120
    assert max(sizes) < 2 * min(sizes)
