"""Which files of a download are taken."""

from pathlib import Path

import pytest

from stashhog_core.downloads.selection import archive_stem, is_archive, select_files
from stashhog_core.downloads.sources import SourceFile


def _file(path: str, size: int = 1000) -> SourceFile:
    return SourceFile(path, Path("/downloads/x") / path, size)


def _paths(files: tuple[SourceFile, ...]) -> list[str]:
    return [file.relative_path for file in files]


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("film.mp4", "take"),
        ("Film.MKV", "take"),
        ("sub/film.de.srt", "take"),
        ("film.funscript", "take"),
        ("cover.JPG", "take"),
        ("film.rar", "archives"),
        ("film.r07", "archives"),
        ("film.part01.rar", "archives"),
        ("film.7z.001", "archives"),
        ("film.t00", "archives"),
        ("film.mkv.001", "archives"),
        ("film.zip.012", "archives"),
        ("film.zipx", "archives"),
        ("film.ace", "archives"),
        ("film.tar.lz", "archives"),
        ("disc.img", "archives"),
        ("film.264", "left_out"),
        ("pictures.zip", "archives"),
        ("film.nfo", "left_out"),
        ("setup.exe", "left_out"),
        ("mp4", "left_out"),
        (".hidden.mp4", "left_out"),
        ("__MACOSX/film.mp4", "left_out"),
        ("@eaDir/cover.jpg", "left_out"),
    ],
)
def test_files_are_sorted_by_name(path: str, group: str) -> None:
    """Videos and their companions are taken, archives told, the rest left out."""
    choice = select_files([_file(path)])

    assert _paths(getattr(choice, group)) == [path]
    assert len(choice.take + choice.archives + choice.short + choice.left_out) == 1


def test_a_sample_is_left_out_beside_the_real_thing() -> None:
    """In the name of the file or of a folder, whatever the case."""
    samples = ["Sample/film.mp4", "film-SAMPLE.mkv", "sample.mp4"]

    choice = select_files([_file("film.mp4", 9000), *(_file(path) for path in samples)])

    assert _paths(choice.take) == ["film.mp4"]
    assert sorted(_paths(choice.left_out)) == sorted(samples)


@pytest.mark.parametrize(
    "files",
    [
        pytest.param([_file("Sample.mp4")], id="alone"),
        pytest.param([_file("clip.mp4", 10), _file("sample.mp4", 99)], id="larger"),
        pytest.param([_file("Samplers.mp4", 1), _file("b.mp4", 2)], id="other word"),
    ],
)
def test_a_video_that_is_only_called_so_is_taken(files: list[SourceFile]) -> None:
    """Nothing is lost to its name."""
    assert select_files(files).take == tuple(files)


@pytest.mark.parametrize(
    "path",
    [
        "The Sample (2024).mp4",
        "Free sample.mp4",
        "Sample Day - Ada.mp4",
        "The.Sample.2024.1080p.mp4",
        "Sample Scenes/clip.mp4",
    ],
)
def test_the_word_sample_in_a_title_leaves_nothing_out(path: str) -> None:
    """Only where programs put it: a folder of that name, at an end after a mark."""
    choice = select_files([_file("film.mp4", 9000), _file(path, 100)])

    assert path in _paths(choice.take)


def test_a_sample_is_far_smaller_than_what_it_is_of() -> None:
    """Two scenes of like size are two scenes, whatever their names; both are told."""
    files = [_file("film.mp4", 9000), _file("film-sample.mp4", 1900)]

    large = select_files(files)
    small = select_files([files[0], _file("film-sample.mp4", 1800)])

    assert _paths(large.take) == ["film.mp4", "film-sample.mp4"]
    assert _paths(small.samples) == _paths(small.left_out) == ["film-sample.mp4"]


@pytest.mark.parametrize(
    ("files", "is_packed"),
    [
        pytest.param({"a.rar": 900}, True, id="alone"),
        pytest.param({"a.rar": 900, "a.jpg": 5000}, True, id="with a picture"),
        pytest.param({"a.rar": 900, "a.srt": 5000}, True, id="with a subtitle"),
        pytest.param({"a.rar": 900, "proof.mp4": 800}, True, id="small video"),
        pytest.param({"a.rar": 900, "a.mp4": 810}, False, id="unpacked"),
        pytest.param({"a.r00": 900, "a.rar": 9, "a.mp4": 900}, False, id="parts"),
        pytest.param({"a.rar": 900, "b.rar": 900, "a.mp4": 950}, True, id="half"),
        pytest.param(
            {f"{i}.rar": 900 for i in range(20)} | {f"{i}.mp4": 990 for i in range(19)},
            True,
            id="all but one",
        ),
        pytest.param(
            {"a.rar": 900, "b.part1.rar": 500, "b.part2.rar": 500}
            | {"a.mp4": 900, "c.mp4": 500, "d.mp4": 500},
            False,
            id="several in one",
        ),
        pytest.param(
            {"a.rar": 900, "s.rar": 99, "a.mp4": 999}, False, id="with extras"
        ),
        pytest.param({"subs.zip": 9, "a.mp4": 900}, False, id="extras"),
        pytest.param({"a.rar": 900, "sample/a.mp4": 100}, True, id="sample"),
        pytest.param({"a.mp4": 900}, False, id="no archive"),
    ],
)
def test_archives_hold_the_main_content_until_a_video_of_their_size_is_there(
    files: dict[str, int], is_packed: bool
) -> None:
    """Nothing else stands for it."""
    choice = select_files([_file(path, size) for path, size in files.items()])

    assert choice.is_packed == is_packed
    assert "sample/a.mp4" not in _paths(choice.take)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("film.rar", "film"),
        ("film.r07", "film"),
        ("Film.part01.RAR", "Film"),
        ("film.7z.001", "film"),
        ("film.tar.gz", "film"),
        ("film.mkv.001", "film.mkv"),
        ("film.zip.012", "film"),
        ("a.b.zip", "a.b"),
    ],
)
def test_the_parts_of_an_archive_have_one_stem(name: str, stem: str) -> None:
    """By which what comes out of it is found."""
    assert is_archive(name)
    assert archive_stem(name) == stem


def test_short_videos_are_left_out_when_asked() -> None:
    """Under 30 seconds, not at 30; an unknown length is kept; only videos are asked."""
    seconds = {"a.mp4": 29.9, "b.mp4": 30.0, "c.mp4": None}
    files = [_file(name) for name in (*seconds, "a.srt")]

    choice = select_files(files, lambda file: seconds[file.relative_path])

    assert _paths(choice.short) == ["a.mp4"]
    assert _paths(choice.take) == ["b.mp4", "c.mp4", "a.srt"]


def test_own_patterns_name_more_junk() -> None:
    """They mean names of files and of folders, whatever the case."""
    files = [_file(path) for path in ("film.mp4", "Proof/a.jpg", "b-PROOF.jpg")]

    choice = select_files(files, junk_patterns=["*proof*"])

    assert _paths(choice.take) == ["film.mp4"]
    assert _paths(choice.left_out) == ["Proof/a.jpg", "b-PROOF.jpg"]


def test_the_shortest_length_is_as_set() -> None:
    """Instead of 30 seconds."""
    files = [_file("a.mp4"), _file("sample.mp4", 2000)]

    choice = select_files(files, lambda file: 9.0, shortest_seconds=10)

    assert _paths(choice.short) == ["a.mp4", "sample.mp4"]
