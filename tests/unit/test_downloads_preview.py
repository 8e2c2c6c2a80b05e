"""A dry run foretells what placing then does."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stashhog_core.downloads import files
from stashhog_core.downloads.names import Names
from stashhog_core.downloads.placing import LibraryFolder, Placed
from stashhog_core.downloads.preview import PlacingPreview
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
            yield "ItemError The file cannot be placed: No such file or directory"


def _tree(root: Path) -> dict[str, int]:
    return {str(p.relative_to(root)): p.lstat().st_ino for p in root.rglob("*")}


@pytest.mark.parametrize("policy", POLICIES)
def test_a_preview_changes_nothing_and_tells_the_truth(
    policy: PlacePolicy, root: Path, work: Work
) -> None:
    """Places, methods, marks and errors are those of the real thing."""
    before = _tree(root)
    foretold = list(_outcome(PlacingPreview(root, policy, 0, lambda: None).place, work))
    unchanged = _tree(root) == before
    with closing(LibraryFolder(root, policy, 0, lambda: None)) as library:
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
    preview = PlacingPreview(root, "copy", reserve, lambda: None)

    outcomes = list(
        _outcome(preview.place, [(file, (f"{n}.mp4",)) for n in range(1000)])
    )

    assert outcomes[0].startswith("Placed")
    assert outcomes[-1].startswith("OutOfSpaceError")


@pytest.mark.parametrize("clones", [True, False], ids=["clones", "no clones"])
@pytest.mark.parametrize("policy", [*POLICIES, "reflink"])
@pytest.mark.parametrize(
    "code", [errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP]
)
def test_a_link_that_is_not_possible_is_foretold(
    code: int,
    policy: PlacePolicy,
    clones: bool,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By really trying: a clone, a copy or a refusal, with the reason of the run."""
    (root / "there").mkdir()
    work: Work = []
    for names in (("film.mp4",), ("there", "film.mp4"), ("new", "deep", "film.mp4")):
        path = tmp_path / "in" / "-".join(names)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes("-".join(names).encode())
        work.append((SourceFile(path.name, path, path.stat().st_size), names))

    def link(*args: object, **options: object) -> None:
        raise OSError(code, os.strerror(code))

    def ioctl(target: int, request: int, source: int) -> int:
        if not clones:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        # The kernel shares the blocks; what is seen is the same.
        os.sendfile(target, source, 0, 1000)
        return 0

    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(files.fcntl, "ioctl", ioctl)
    before = _tree(root)
    foretold = list(_outcome(PlacingPreview(root, policy, 0, lambda: None).place, work))
    unchanged = _tree(root) == before
    with closing(LibraryFolder(root, policy, 0, lambda: None)) as library:
        done = list(_outcome(library.place, work))

    assert foretold == done
    assert unchanged
    method = "reflink" if clones and policy != "copy" else "copy"
    refused = policy == "hardlink"
    assert all((f"'{method}'" in outcome) != refused for outcome in done)
    says_why = policy == "hardlink_or_copy"
    assert all(("why_no_link='" in outcome) == says_why for outcome in done)


def test_a_trial_moves_nothing_but_one_files_ctime(root: Path, tmp_path: Path) -> None:
    """Files that are alike are tried once; nothing new is beside the downloads."""
    work: Work = []
    for number in range(5):
        path = tmp_path / "in" / f"{number}.mp4"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes([number]))
        work.append((SourceFile(path.name, path, 1), (f"{number}", path.name)))
    before = {path: path.stat() for path in (tmp_path / "in").iterdir()}

    outcomes = list(
        _outcome(PlacingPreview(root, "hardlink_or_copy", 0, lambda: None).place, work)
    )

    assert all("'link'" in outcome for outcome in outcomes)
    after = {path: path.stat() for path in (tmp_path / "in").iterdir()}
    assert before.keys() == after.keys()
    moved = [path for path in before if before[path].st_ctime != after[path].st_ctime]
    assert len(moved) <= 1
    assert all(before[p].st_mtime == after[p].st_mtime for p in before)
