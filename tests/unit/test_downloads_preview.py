"""A dry run foretells what placing then does."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stashhog_core.downloads.outcome import Names, Placed
from stashhog_core.downloads.placing import Library
from stashhog_core.downloads.preview import Preview
from stashhog_core.downloads.sources import SourceFile
from stashhog_core.errors import ItemError
from stashhog_core.settings import PlacePolicy

POLICIES: list[PlacePolicy] = ["hardlink", "hardlink_or_copy", "copy"]
Work = list[tuple[SourceFile, Names]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "library"
    root.mkdir()
    return root


@pytest.fixture
def work(root: Path, tmp_path: Path) -> Work:
    """Files for every way it can end."""
    files = {}
    for name, data in {
        "new": b"new",
        "taken": b"mine",
        "equal": b"equal",
        "linked": b"linked",
        "first": b"first",
        "second": b"second",
        "blocked": b"blocked",
        "behind a link": b"x",
        "gone": b"gone",
    }.items():
        path = tmp_path / "in" / f"{name}.mp4"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        files[name] = SourceFile(path.name, path, len(data))
    (root / "taken.mp4").write_bytes(b"other")
    (root / "equal.mp4").write_bytes(b"equal")
    os.link(files["linked"].path, root / "linked.mp4")
    (root / "file").write_bytes(b"a file")
    (root / "link").symlink_to(tmp_path)
    Path(files["gone"].path).unlink()
    places = {
        "new": ("Film", "deep", "new.mp4"),
        "first": ("Film", "same.mp4"),
        "second": ("Film", "same.mp4"),
        "blocked": ("file", "deep", "film.mp4"),
        "behind a link": ("link", "film.mp4"),
    }
    return [(file, places.get(name, (f"{name}.mp4",))) for name, file in files.items()]


def _outcome(place: Callable[[SourceFile, Names], Placed], work: Work) -> Iterator[str]:
    for file, names in work:
        try:
            yield repr(place(file, names))
        except ItemError as error:
            yield f"{type(error).__name__} {error.what}"
        except FileNotFoundError:
            yield "ItemError It cannot be placed: No such file or directory"


def _tree(root: Path) -> dict[str, int]:
    return {str(p.relative_to(root)): p.lstat().st_ino for p in root.rglob("*")}


@pytest.mark.parametrize("policy", POLICIES)
def test_a_preview_changes_nothing_and_tells_the_truth(
    policy: PlacePolicy, root: Path, work: Work
) -> None:
    """Places, methods, marks and errors are those of the real thing."""
    before = _tree(root)
    foretold = list(_outcome(Preview(root, policy, 0, lambda: None).place, work))
    unchanged = _tree(root) == before
    with closing(Library(root, policy, 0, lambda: None)) as library:
        done = list(_outcome(library.place, work))

    assert unchanged
    assert foretold == done
    assert sum(outcome.startswith("ItemError") for outcome in done) == 3


def test_a_preview_knows_that_space_runs_out(root: Path, tmp_path: Path) -> None:
    """Copies that would have been made count."""
    data = tmp_path / "film.mp4"
    data.write_bytes(bytes(1_000_000))
    file = SourceFile("film.mp4", data, 1_000_000)
    space = os.statvfs(root)
    reserve = space.f_bavail * space.f_frsize - 500_000_000
    preview = Preview(root, "copy", reserve, lambda: None)

    outcomes = list(
        _outcome(preview.place, [(file, (f"{n}.mp4",)) for n in range(1000)])
    )

    assert outcomes[0].startswith("Placed")
    assert outcomes[-1].startswith("OutOfSpaceError")


def test_another_file_system_is_foretold(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`hardlink` would stop there, `hardlink_or_copy` would copy."""
    data = tmp_path / "film.mp4"
    data.write_bytes(b"film")
    file = SourceFile("film.mp4", data, 4)
    real = os.lstat(data)
    other = os.stat_result(
        (real.st_mode, real.st_ino, real.st_dev + 1, *tuple(real)[3:])
    )
    monkeypatch.setattr("stashhog_core.downloads.preview.regular", lambda file: other)

    with pytest.raises(ItemError, match=os.strerror(errno.EXDEV)):
        Preview(root, "hardlink", 0, lambda: None).place(file, ("film.mp4",))
    placed = Preview(root, "hardlink_or_copy", 0, lambda: None).place(
        file, ("film.mp4",)
    )
    assert placed.method == "copy"
