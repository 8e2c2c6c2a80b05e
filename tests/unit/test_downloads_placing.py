"""Placing files in the library."""

import errno
import itertools
import os
import re
import resource
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stashhog_core.downloads import files, placing
from stashhog_core.downloads.filesystems import fit_folders
from stashhog_core.downloads.placing import (
    Access,
    LibraryFolder,
    NameRefusedError,
    OutOfSpaceError,
    Placed,
)
from stashhog_core.downloads.preview import PlacingPreview
from stashhog_core.downloads.sources import SourceFile
from stashhog_core.errors import ItemError, JobCancelled, JobError
from stashhog_core.paths import printable
from stashhog_core.settings import PlacePolicy

OTHER = f".stashhog-{'2' * 16}.part"
POLICIES: list[PlacePolicy] = ["hardlink", "hardlink_or_copy", "reflink", "copy"]


def _source(path: Path, data: bytes = b"film" * 1000) -> SourceFile:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return SourceFile(path.name, path, len(data))


def _tree(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "library"
    root.mkdir()
    return root


def _library(root: Path, policy: PlacePolicy, reserve_bytes: int = 0) -> LibraryFolder:
    return LibraryFolder(root, policy, reserve_bytes, lambda: None)


@pytest.fixture
def linking(root: Path) -> Iterator[LibraryFolder]:
    with closing(_library(root, "hardlink_or_copy")) as library:
        yield library


@pytest.fixture
def copying(root: Path) -> Iterator[LibraryFolder]:
    with closing(_library(root, "copy")) as library:
        yield library


@pytest.mark.parametrize("policy", POLICIES)
def test_a_placed_file_is_whole(
    policy: PlacePolicy, root: Path, tmp_path: Path
) -> None:
    """Every policy brings the same bytes and time under the final name only."""
    file = _source(tmp_path / "in" / "film.mp4")
    os.utime(file.path, (1_500_000_000, 1_500_000_000))
    with closing(_library(root, policy)) as library:
        placed = library.place(file, ("Film", "disc 1", "film.mp4"))
        library.flush()

    target = root / "Film" / "disc 1" / "film.mp4"
    assert placed.path == str(target)
    assert placed.is_new
    assert _tree(root) == {"Film/disc 1/film.mp4": file.path.read_bytes()}
    assert target.stat().st_mtime == 1_500_000_000
    assert target.samefile(file.path) == policy.startswith("hardlink")
    assert (placed.method == "link") == policy.startswith("hardlink")


@pytest.mark.parametrize(
    ("mode", "expected"), [(0o640, 0o640), (0o444, 0o644), (0o4755, 0o755)]
)
def test_a_copy_has_the_permissions_of_its_file(
    mode: int, expected: int, copying: LibraryFolder, root: Path, tmp_path: Path
) -> None:
    """Its owner may also read and write it, and nobody gets the rights of its owner."""
    file = _source(tmp_path / "in" / "film.mp4")
    file.path.chmod(mode)

    copying.place(file, ("film.mp4",))

    assert stat.S_IMODE((root / "film.mp4").stat().st_mode) == expected


@pytest.mark.parametrize("is_equal", [True, False])
def test_a_name_that_is_taken_during_a_copy_stays_as_it_is(
    is_equal: bool, copying: LibraryFolder, root: Path, tmp_path: Path
) -> None:
    """An equal file is taken for the copy; beside another one a name is chosen."""
    file = _source(tmp_path / "in" / "film.mp4")
    taken = file.path.read_bytes() if is_equal else b"other"

    def take() -> None:
        (root / "film.mp4").write_bytes(taken)

    copying.before_copy = take
    placed = copying.place(file, ("film.mp4",))

    assert placed.is_new != is_equal
    assert Path(placed.path).read_bytes() == file.path.read_bytes()
    assert (root / "film.mp4").read_bytes() == taken
    assert len(_tree(root)) == (1 if is_equal else 2)


def test_an_earlier_copy_that_lacks_bytes_becomes_whole(
    copying: LibraryFolder, root: Path, tmp_path: Path
) -> None:
    """A copy that was made before the file was whole is replaced."""
    file = _source(tmp_path / "in" / "film.mp4")
    (root / "film.mp4").write_bytes(b"film" * 10 + bytes(60))

    placed = copying.replace(file, ("film.mp4",), 100)

    assert placed == Placed(str(root / "film.mp4"), "copy", is_new=True)
    assert _tree(root) == {"film.mp4": file.path.read_bytes()}


def test_nothing_but_an_earlier_copy_is_replaced(
    copying: LibraryFolder, root: Path, tmp_path: Path
) -> None:
    """A file of other bytes stays, also if it gets them while the copy is made."""
    file = _source(tmp_path / "in" / "film.mp4")
    (root / "other.mp4").write_bytes(b"mine" * 25)
    (root / "film.mp4").write_bytes(b"film" * 10 + bytes(60))

    def edit() -> None:
        (root / "film.mp4").write_bytes(b"mine")

    copying.before_copy = edit
    with pytest.raises(ItemError, match="changed while"):
        copying.replace(file, ("film.mp4",), 100)
    assert copying.replace(file, ("other.mp4",), 100) is None

    assert _tree(root) == {"film.mp4": b"mine", "other.mp4": b"mine" * 25}


def test_a_copy_that_is_whole_already_is_not_written_again(
    copying: LibraryFolder, root: Path, tmp_path: Path
) -> None:
    """A copy that holds the file's bytes counts as placed, and stays the same file."""
    file = _source(tmp_path / "in" / "film.mp4")
    (root / "film.mp4").write_bytes(file.path.read_bytes())
    before = (root / "film.mp4").stat()

    placed = copying.replace(file, ("film.mp4",), file.size_bytes)

    assert placed == Placed(str(root / "film.mp4"), "existing", is_new=False)
    assert (root / "film.mp4").stat() == before


@pytest.mark.parametrize("change", ["longer", "linked", "a folder"])
def test_what_others_have_made_of_an_earlier_copy_is_not_replaced(
    change: str, copying: LibraryFolder, root: Path, tmp_path: Path
) -> None:
    """Another size, a link to the download, or no file: it is no copy of ours."""
    file = _source(tmp_path / "in" / "film.mp4")
    path = root / "film.mp4"
    size_bytes = 100
    if change == "longer":
        path.write_bytes(b"film" * 10 + bytes(80))
    elif change == "linked":
        path.hardlink_to(file.path)
        size_bytes = file.size_bytes
    else:
        path.mkdir()
        size_bytes = path.stat().st_size
    before = os.lstat(path)

    assert copying.replace(file, ("film.mp4",), size_bytes) is None

    assert os.lstat(path) == before
    assert list(root.iterdir()) == [path]


def test_replacing_removes_what_a_killed_run_left(
    copying: LibraryFolder, root: Path, tmp_path: Path
) -> None:
    """A run that is killed while it replaces a copy leaves a hidden file beside it."""
    file = _source(tmp_path / "in" / "film.mp4")
    folder = root / "Film"
    folder.mkdir()
    (folder / "film.mp4").write_bytes(b"film" * 10 + bytes(60))
    (folder / OTHER).write_bytes(b"film" * 20)

    copying.replace(file, ("Film", "film.mp4"), 100)

    assert _tree(root) == {"Film/film.mp4": file.path.read_bytes()}


def test_nothing_stays_open(copying: LibraryFolder, root: Path, tmp_path: Path) -> None:
    """However many files are placed, only their folders are open, until the end."""
    before = _open_files()
    for number in range(3):
        file = _source(tmp_path / "in" / "film.mp4", bytes([number]) * 1000)
        copying.place(file, (f"{number}.mp4",))
        copying.place(file, (f"{number}.mp4",))

    copying.close()

    assert len(list(root.iterdir())) == 3
    assert _open_files() == before


def _open_files() -> dict[str, str]:
    """Return what this process has open, by number, without the look itself."""
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found[path.name] = str(path.readlink())
    return {name: what for name, what in found.items() if "/fd" not in what}


@pytest.mark.parametrize("policy", POLICIES)
def test_placing_again_changes_nothing(
    policy: PlacePolicy, root: Path, tmp_path: Path
) -> None:
    """The same file, or an equal one, at the target means done."""
    file = _source(tmp_path / "in" / "film.mp4")
    with closing(_library(root, policy)) as library:
        library.place(file, ("film.mp4",))
        inode = (root / "film.mp4").stat().st_ino
        again = library.place(file, ("film.mp4",))

    assert again == Placed(
        str(root / "film.mp4"),
        "link" if policy.startswith("hardlink") else "existing",
        is_new=False,
    )
    assert (root / "film.mp4").stat().st_ino == inode
    assert list(_tree(root)) == ["film.mp4"]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "other",
    [
        pytest.param(b"short", id="other size"),
        pytest.param(b"mlif" * 1000, id="same size, other bytes"),
    ],
)
def test_another_file_of_that_name_stays(
    policy: PlacePolicy, other: bytes, root: Path, tmp_path: Path
) -> None:
    """Nothing is overwritten: a mark of the content goes before the extension."""
    file = _source(tmp_path / "in" / "film.mp4")
    (root / "film.mp4").write_bytes(other)
    with closing(_library(root, policy)) as library:
        placed = library.place(file, ("film.mp4",))
        again = library.place(file, ("film.mp4",))

    name = Path(placed.path).name
    assert name.startswith("film.")
    assert name.endswith(".mp4")
    assert again.path == placed.path
    assert not again.is_new
    assert _tree(root) == {"film.mp4": other, name: file.path.read_bytes()}


def test_files_that_differ_only_in_the_middle_are_not_taken_for_one(
    copying: LibraryFolder, root: Path, tmp_path: Path
) -> None:
    """Equal size and equal oshash are no proof: the bytes are compared."""
    ends = bytes(70_000)
    first = _source(tmp_path / "1" / "film.mp4", ends + b"first" + ends)
    other = _source(tmp_path / "2" / "film.mp4", ends + b"other" + ends)

    placed = [copying.place(file, ("film.mp4",)).path for file in (first, other)]

    assert Path(placed[0]).read_bytes() == first.path.read_bytes()
    assert Path(placed[1]).read_bytes() == other.path.read_bytes()


def test_when_all_names_are_taken_the_file_is_refused(
    copying: LibraryFolder, root: Path, tmp_path: Path
) -> None:
    """Even then nothing is overwritten."""
    ends = bytes(70_000)
    files = [
        _source(tmp_path / str(n) / "film.mp4", ends + b"%d" % n + ends)
        for n in range(4)
    ]
    for file in files[:3]:
        copying.place(file, ("film.mp4",))

    with pytest.raises(ItemError, match="all alternative names"):
        copying.place(files[3], ("film.mp4",))

    assert len(_tree(root)) == 3


@pytest.mark.parametrize("name", ["ä" * 125 + ".mp4", os.fsdecode(b"f\xff\xfe.mp4")])
def test_odd_names_are_kept(
    name: str, copying: LibraryFolder, root: Path, tmp_path: Path
) -> None:
    """Names of 254 bytes and names that are not UTF-8 arrive as they are."""
    file = _source(tmp_path / "in" / name)

    copying.place(file, ("folder", name))

    assert os.listdir(root / "folder") == [name]  # noqa: PTH208 - names
    assert printable(name).encode()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("letter", ["x", "ä", "\udcff"])
def test_names_that_are_too_long_are_cut(
    letter: str, policy: PlacePolicy, root: Path, tmp_path: Path
) -> None:
    """Files get the mark of their content, folders that of their name.

    Two that begin alike stay apart, and placing again changes nothing.
    """
    files = [
        _source(tmp_path / "in" / f"{number}.mp4", b"film%d" % number)
        for number in range(2)
    ]
    placed, again, foretold = [], [], []
    with closing(_library(root, policy)) as library:
        for number, file in enumerate(files):
            folders = fit_folders(root, (f"{letter * 300}{number}", "short"))
            names = (*folders, f"{letter * 300}{number}.mp4")
            preview = PlacingPreview(root, policy, 0, lambda: None)
            foretold.append(preview.place(file, names).path)
            placed.append(library.place(file, names).path)
            again.append(library.place(file, names))

    assert foretold == placed == [one.path for one in again]
    assert not any(one.is_new for one in again)
    assert len({Path(path).parent.parent for path in placed}) == 2
    for path, file in zip(placed, files, strict=True):
        assert Path(path).read_bytes() == Path(file.path).read_bytes()
        assert Path(path).parent.name == "short"
        assert re.fullmatch(rf"{letter}+\.[0-9a-f]{{8}}\.mp4", Path(path).name)
        folder = Path(path).parent.parent.name
        assert re.fullmatch(rf"{letter}+\.[0-9a-f]{{8}}", folder)
        assert 240 < len(os.fsencode(folder)) <= 255


@pytest.fixture
def no_colons(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system as exFAT: names with a colon cannot be made or found."""
    for call in ("open", "mkdir", "link", "rename"):
        real = getattr(os, call)

        def checked(*args: Any, real: Any = real, **options: Any) -> Any:
            if any(":" in str(name).rpartition("/")[2] for name in args[:2]):
                raise OSError(errno.ENOENT, "No such file or directory")
            return real(*args, **options)

        monkeypatch.setattr(os, call, checked)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "names",
    [
        ("Film", "a: b.mp4"),
        ("Film: the return", "film.mp4"),
        ("Film", "deep: er", "film.mp4"),
    ],
)
def test_a_name_that_the_file_system_cannot_hold_is_said_to_be_that(
    names: tuple[str, ...],
    policy: PlacePolicy,
    root: Path,
    tmp_path: Path,
    no_colons: None,
) -> None:
    """The character is named, before a byte is copied; the dry run says the same."""
    file = _source(tmp_path / "in" / "film.mp4")
    with pytest.raises(NameRefusedError, match="does not allow ':'") as foretold:
        PlacingPreview(root, policy, 0, lambda: None).place(file, names)
    with (
        closing(_library(root, policy, reserve_bytes=2**60)) as library,
        pytest.raises(NameRefusedError) as refused,
    ):
        library.place(file, names)

    assert str(foretold.value) == str(refused.value)
    assert not list(root.iterdir())


def test_a_mount_of_somebody_else_takes_copies(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody may write there, but permissions and times cannot be set.

    That is no error unless permissions were asked for.
    """

    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    file = _source(tmp_path / "in" / "film.mp4")
    for call in ("fchmod", "fchown", "utime"):
        monkeypatch.setattr(os, call, refuse)
    with closing(_library(root, "copy")) as library:
        placed = library.place(file, ("Film", "film.mp4"))
    for access in (Access(file_mode=0o664), Access(group=os.getgid())):
        with (
            closing(LibraryFolder(root, "copy", 0, lambda: None, access)) as library,
            pytest.raises(ItemError, match="Operation not permitted"),
        ):
            library.place(file, ("Other", "film.mp4"))

    assert placed.method == "copy"
    assert _tree(root) == {"Film/film.mp4": Path(file.path).read_bytes()}


def test_a_link_that_cannot_be_made_is_a_copy_or_a_refusal(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another file system: `hardlink_or_copy` copies, `hardlink` stops and says why."""
    file = _source(tmp_path / "in" / "film.mp4")
    real_link = os.link

    def link(source: object, target: object, **options: object) -> None:
        if "src_dir_fd" not in options:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real_link(source, target, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "link", link)
    with closing(_library(root, "hardlink")) as library:
        with pytest.raises(ItemError, match="STASHHOG_DOWNLOADS__PLACE"):
            library.place(file, ("Film", "film.mp4"))

        assert not list(root.iterdir())

    with closing(_library(root, "hardlink_or_copy")) as library:
        assert library.place(file, ("film.mp4",)).method == "copy"
    with closing(_library(root, "hardlink")) as library:
        # An equal file needs no link.
        assert library.place(file, ("film.mp4",)).method == "existing"


@pytest.mark.parametrize("code", [errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP])
def test_a_file_system_without_links_gets_whole_files_too(
    code: int, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any link the temporary file is renamed; another one still stays."""
    file = _source(tmp_path / "in" / "film.mp4")

    def link(*args: object, **options: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", link)
    (root / "film.mp4").write_bytes(b"other")
    with closing(_library(root, "hardlink_or_copy")) as library:
        placed = library.place(file, ("film.mp4",))

    assert placed.method == "copy"
    assert _tree(root) == {
        "film.mp4": b"other",
        Path(placed.path).name: file.path.read_bytes(),
    }


@pytest.mark.parametrize(
    "code",
    [errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY, errno.EWOULDBLOCK],
)
def test_what_cannot_be_cloned_is_copied(
    code: int, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As most file systems say, and ZFS just after the file was written."""
    file = _source(tmp_path / "in" / "film.mp4")

    def ioctl(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.fcntl, "ioctl", ioctl)
    with closing(_library(root, "reflink")) as library:
        placed = library.place(file, ("film.mp4",))

    assert (placed.method, placed.is_new) == ("copy", True)
    assert _tree(root) == {"film.mp4": file.path.read_bytes()}


@pytest.mark.parametrize("policy", ["reflink", "hardlink_or_copy"])
def test_a_clone_needs_no_room(
    policy: PlacePolicy, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file system can clone, no space is asked for and nothing is copied.

    So a clone is tried also where a link was wanted and is refused: between subvolumes
    of btrfs and bind mounts of XFS it is free.
    """
    file = _source(tmp_path / "in" / "film.mp4")

    def ioctl(target: int, request: int, source: int) -> int:
        # The kernel shares the blocks; what is seen is the same.
        assert request == 0x40049409
        os.sendfile(target, source, 0, file.size_bytes)
        return 0

    real_link = os.link

    def link(source: Any, target: Any, **options: Any) -> None:
        if source == file.path:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real_link(source, target, **options)

    monkeypatch.setattr(files.fcntl, "ioctl", ioctl)
    monkeypatch.setattr(os, "link", link)
    with closing(_library(root, policy, reserve_bytes=2**60)) as library:
        placed = library.place(file, ("film.mp4",))

    assert (placed.method, placed.is_new) == ("reflink", True)
    assert _tree(root) == {"film.mp4": file.path.read_bytes()}


def test_the_policy_copy_asks_for_no_clone(
    copying: LibraryFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the only one that does not; the kernel may still share blocks."""

    def ioctl(*_: object) -> None:
        raise AssertionError("a clone was tried")

    monkeypatch.setattr(files.fcntl, "ioctl", ioctl)
    placed = copying.place(_source(tmp_path / "in" / "film.mp4"), ("film.mp4",))

    assert placed.method == "copy"


def test_a_failing_clone_is_the_files_error(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An input/output error is no reason to try a copy; nothing remains."""
    file = _source(tmp_path / "in" / "film.mp4")

    def ioctl(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files.fcntl, "ioctl", ioctl)
    with (
        closing(_library(root, "reflink")) as library,
        pytest.raises(ItemError, match="Input/output error"),
    ):
        library.place(file, ("Film", "film.mp4"))

    assert not list(root.iterdir())


def test_other_errors_of_linking_are_the_files(
    linking: LibraryFolder, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An input/output error is no reason to try a copy."""
    file = _source(tmp_path / "in" / "film.mp4")

    def link(*args: object, **options: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(ItemError, match="Input/output error"):
        linking.place(file, ("Film", "film.mp4"))

    assert not list(root.iterdir())


def test_a_copy_leaves_the_reserve_free(root: Path, tmp_path: Path) -> None:
    """Too little space: refused before a byte is written, with what to do."""
    file = _source(tmp_path / "in" / "film.mp4")
    with closing(_library(root, "copy", reserve_bytes=10**18)) as library:
        with pytest.raises(OutOfSpaceError, match="RESERVE_BYTES"):
            library.place(file, ("Film", "film.mp4"))

        assert not list(root.iterdir())

    with closing(_library(root, "hardlink", reserve_bytes=10**18)) as library:
        # A link needs no space.
        assert library.place(file, ("film.mp4",)).method == "link"


def test_a_disk_that_fills_up_leaves_nothing_behind(
    copying: LibraryFolder, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The half copy goes, the reason is told as a lack of space."""
    file = _source(tmp_path / "in" / "film.mp4")

    def full(source: int, target: int, checkpoint: object) -> int:
        os.write(target, b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(placing, "copy_content", full)
    with pytest.raises(OutOfSpaceError, match="No space left"):
        copying.place(file, ("Film", "film.mp4"))

    assert not list(root.iterdir())


def test_a_file_that_disappears_while_it_is_copied_is_whole_or_not_there(
    copying: LibraryFolder, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes are still to be had while it is open."""
    file = _source(tmp_path / "in" / "film.mp4")
    data = Path(file.path).read_bytes()
    real_copy = placing.copy_content

    def copy(source: int, target: int, checkpoint: files.Checkpoint) -> int:
        Path(file.path).unlink()
        return real_copy(source, target, checkpoint)

    monkeypatch.setattr(placing, "copy_content", copy)
    copying.place(file, ("Film", "film.mp4"))

    assert _tree(root) == {"Film/film.mp4": data}


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENAMETOOLONG])
def test_a_target_that_cannot_be_written_is_the_items_error(
    code: int, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a folder of the library that is mounted read-only; nothing remains."""
    file = _source(tmp_path / "in" / "film.mp4")
    first = _source(tmp_path / "in" / "first.mp4")

    def fail(*args: object, **options: object) -> int:
        raise OSError(code, os.strerror(code))

    for policy, call in (("hardlink", "link"), ("copy", "open"), ("copy", "mkdir")):
        with closing(_library(root, policy)) as library:  # type: ignore[arg-type]
            # The library is open and has its reserve: this one file fails.
            library.place(first, ("first.mp4",))
            with monkeypatch.context() as patch:
                patch.setattr(os, call, fail)
                with pytest.raises(ItemError, match=os.strerror(code)):
                    library.place(file, ("Film", "film.mp4"))

    assert set(_tree(root)) == {"first.mp4"}


@pytest.mark.parametrize("size_bytes", [4004, 4000, 100])
def test_a_file_that_changes_while_it_is_copied_is_refused(
    size_bytes: int,
    copying: LibraryFolder,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was copied may be a mixture: it does not stay."""
    file = _source(tmp_path / "in" / "film.mp4")
    real_copy = placing.copy_content

    def copy(source: int, target: int, checkpoint: files.Checkpoint) -> int:
        file.path.write_bytes(b"f" * size_bytes)
        os.utime(file.path, (1_500_000_000, 1_500_000_000))
        return real_copy(source, target, checkpoint)

    monkeypatch.setattr(placing, "copy_content", copy)
    with pytest.raises(ItemError, match="changed while"):
        copying.place(file, ("Film", "film.mp4"))

    assert not list(root.iterdir())


def test_folders_for_a_file_that_does_not_come_are_removed(
    copying: LibraryFolder, root: Path, tmp_path: Path
) -> None:
    """Those that were there before stay."""
    (root / "a").mkdir()
    file = _source(tmp_path / "in" / "film.mp4")
    file.path.write_bytes(b"other")

    with pytest.raises(ItemError):
        copying.place(file, ("a", "b", "c", "film.mp4"))

    assert list(root.rglob("*")) == [root / "a"]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_download_is_not_taken_for_its_own_copy(
    policy: PlacePolicy, root: Path, tmp_path: Path
) -> None:
    """A library that is the folder of downloads by another path gets nothing."""
    (tmp_path / "in").symlink_to(root)
    file = _source(tmp_path / "in" / "film.mp4")
    preview = PlacingPreview(root, policy, 0, lambda: None)
    with closing(_library(root, policy)) as library:
        for place in (library.place, preview.place):
            with pytest.raises(ItemError, match="the same folder under two names"):
                place(file, ("film.mp4",))

    assert list(_tree(root)) == ["film.mp4"]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_file_that_is_gone_or_another_is_refused(
    policy: PlacePolicy, root: Path, tmp_path: Path
) -> None:
    """The file must still be as it was listed: there, regular, of that size."""
    gone = _source(tmp_path / "in" / "gone.mp4")
    gone.path.unlink()
    grown = _source(tmp_path / "in" / "grown.mp4")
    grown.path.write_bytes(b"other")
    link = _source(tmp_path / "in" / "link.mp4")
    link.path.unlink()
    link.path.symlink_to("/etc/passwd")
    pipe = _source(tmp_path / "in" / "pipe.mp4", b"")
    pipe.path.unlink()
    os.mkfifo(pipe.path)
    device = SourceFile("null.mp4", Path("/dev/null"), 0)
    with closing(_library(root, policy)) as library:
        for file in (gone, grown, link, pipe, device):
            with pytest.raises(ItemError):
                library.place(file, ("Film", "film.mp4"))

    assert not list(root.iterdir())


@pytest.mark.parametrize("policy", POLICIES)
def test_a_link_inside_the_library_leads_nowhere(
    policy: PlacePolicy, root: Path, tmp_path: Path
) -> None:
    """A folder of the library that is a symbolic link is not written through."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "Film").symlink_to(outside)
    (root / "Other").write_bytes(b"a file")
    (root / "film.mp4").symlink_to(outside / "new.mp4")
    file = _source(tmp_path / "in" / "film.mp4")
    with closing(_library(root, policy)) as library:
        for folder in ("Film", "Other"):
            with pytest.raises(ItemError, match="has the name of the folder"):
                library.place(file, (folder, "film.mp4"))
        placed = library.place(file, ("film.mp4",))

    assert not list(outside.iterdir())
    assert Path(placed.path).name != "film.mp4"


def test_a_library_root_that_is_a_link_is_fine(tmp_path: Path, root: Path) -> None:
    """The root is the user's own word."""
    (tmp_path / "link").symlink_to(root)
    file = _source(tmp_path / "in" / "film.mp4")
    with closing(_library(tmp_path / "link", "copy")) as library:
        placed = library.place(file, ("film.mp4",))

    assert placed.path == str(root / "film.mp4")


def test_a_cancelled_copy_leaves_no_trace(root: Path, tmp_path: Path) -> None:
    """A stop is noticed while bytes flow, and what was written goes."""
    file = _source(tmp_path / "in" / "film.mp4", bytes(3_000_000))
    stop = threading.Event()
    stop.set()

    def checkpoint() -> None:
        if stop.is_set():
            raise JobCancelled("Cancelled on request")

    with (
        closing(LibraryFolder(root, "copy", 0, checkpoint)) as library,
        pytest.raises(JobCancelled),
    ):
        library.place(file, ("Film", "film.mp4"))

    assert not list(root.iterdir())


def test_what_killed_runs_left_is_removed(linking: LibraryFolder, root: Path) -> None:
    """Only our own temporary files go, in the root and in the folders named.

    A trial of a new folder may have left a folder; one that holds more stays.
    """
    left = f".stashhog-{'0' * 16}.part"
    (root / "Film").mkdir()
    for folder, name in ((f".stashhog-{'1' * 16}.part", left), (OTHER, "film.mp4")):
        (root / folder).mkdir()
        (root / folder / name).write_bytes(b"x")
    kept = [
        root / OTHER / "film.mp4",
        root / "film.mp4",
        root / ".stashhog-x.part",
        root / "Film" / "a.part",
    ]
    for path in [*kept[1:], root / left, root / "Film" / left]:
        path.write_bytes(b"x")

    removed = linking.clean([root / "Film", root / "none", root.parent])

    assert removed == 3
    assert sorted(path for path in root.rglob("*") if path.is_file()) == sorted(kept)


def test_what_a_killed_trial_left_goes_when_its_folder_is_used_again(
    linking: LibraryFolder, root: Path, tmp_path: Path
) -> None:
    """Trials of links leave no trace in the ledger, and may be in any folder."""
    (root / "Film").mkdir()
    file = _source(tmp_path / "in" / "film.mp4")
    os.link(file.path, root / "Film" / OTHER)
    trial = root / "Film" / f".stashhog-{'3' * 16}.part"
    trial.mkdir()
    (trial / "a: very odd name").touch()

    linking.place(file, ("Film", "film.mp4"))

    assert [path.name for path in (root / "Film").iterdir()] == ["film.mp4"]


def test_bytes_are_copied_by_hand_where_the_kernel_cannot(
    copying: LibraryFolder, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems refuse copy_file_range, some stop it early."""
    data = os.urandom(3_000_001)

    def refuse(*args: object) -> int:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    for name, in_kernel in (("refused", refuse), ("nothing", lambda *args: 0)):
        monkeypatch.setattr(os, "copy_file_range", in_kernel)
        file = _source(tmp_path / "in" / f"{name}.mp4", data)
        copying.place(file, (f"{name}.mp4",))

    assert _tree(root) == {"refused.mp4": data, "nothing.mp4": data}


@pytest.fixture
def few_files() -> Iterator[int]:
    """Let this process open 200 further files; return how many are open before."""
    used = set(map(int, os.listdir("/proc/self/fd")))  # noqa: PTH208 - numbers
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The limit is a number: a new file takes the lowest that is free.
    free = (number for number in itertools.count() if number not in used)
    below = next(itertools.islice(free, 200, None))
    resource.setrlimit(resource.RLIMIT_NOFILE, (below, limits[1]))
    yield len(used)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_many_folders_need_few_open_files(
    few_files: int, linking: LibraryFolder, tmp_path: Path
) -> None:
    """Placing in more folders than a process may open files works."""
    file = _source(tmp_path / "in" / "film.mp4")

    for number in range(100):
        linking.place(file, (f"a{number}", "b", "c", "film.mp4"))

    linking.close()
    assert len(os.listdir("/proc/self/fd")) == few_files  # noqa: PTH208 - counted


@pytest.mark.parametrize(
    ("code", "is_tolerated"),
    [
        *((code, True) for code in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)),
        *((code, False) for code in (errno.EIO, errno.ENOSPC)),
    ],
)
def test_a_disk_that_does_not_store_names_ends_the_run(
    code: int,
    is_tolerated: bool,
    linking: LibraryFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some file systems cannot store the names of a folder by request: no failure."""

    def fail(folder: int) -> None:
        raise OSError(code, os.strerror(code))

    linking.place(_source(tmp_path / "in" / "film.mp4"), ("Film", "film.mp4"))
    monkeypatch.setattr(os, "fsync", fail)

    with (
        nullcontext()
        if is_tolerated
        else pytest.raises(JobError, match="does not store the written data")
    ):
        linking.flush()


@settings(max_examples=40)
@given(
    whole=st.binary(min_size=1, max_size=60),
    holes=st.sets(st.integers(0, 59)),
    cut=st.integers(0, 60),
    wrong=st.none() | st.integers(0, 59),
)
def test_a_part_is_a_file_of_which_nothing_can_be_lost(
    whole: bytes, holes: set[int], cut: int, wrong: int | None
) -> None:
    """Bytes that were not written yet are 0; any other byte must be the file's own."""
    part = bytearray(
        0 if place in holes else byte for place, byte in enumerate(whole[:cut])
    )
    if wrong is not None and wrong < len(part):
        part[wrong] = 1 if whole[wrong] != 1 else 2
    is_part = wrong is None or wrong >= len(part)
    # The files are larger than what is compared at a time.
    padding = bytes(2 * 1024 * 1024 - 7)
    with TemporaryFile() as first, TemporaryFile() as second:
        first.write(padding + part)
        second.write(padding + whole)
        first.flush()
        second.flush()

        found = files.is_part_of(first.fileno(), second.fileno(), lambda: None)

    assert found == is_part
