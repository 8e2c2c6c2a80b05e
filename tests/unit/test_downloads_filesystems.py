"""What two folders have to do with each other, found out by trying."""

import errno
import os
from pathlib import Path

import pytest

from stashhog_core.downloads import filesystems
from stashhog_core.downloads.filesystems import (
    Separation,
    open_folder,
    overlap,
    remove_leftovers,
    survives,
    temporary_name,
    why_no_link,
)
from stashhog_core.errors import ItemError
from stashhog_core.paths import Mount, mount_of


@pytest.fixture
def library(tmp_path: Path) -> Path:
    library = tmp_path / "disk" / "library"
    library.mkdir(parents=True)
    return library


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    downloads = tmp_path / "disk" / "downloads"
    downloads.mkdir()
    return downloads


def _second_name(tmp_path: Path) -> Path:
    """Another name of all that is in `disk`; nothing here resolves it."""
    name = tmp_path / "mounted"
    name.symlink_to(tmp_path / "disk")
    return name


@pytest.mark.parametrize(
    ("library", "downloads", "found"),
    [
        ("disk/a", "mounted/a", "same"),
        ("disk/a", "mounted/a/b", "downloads inside"),
        ("disk/a/b", "mounted/a", "library inside"),
        ("disk/a", "mounted/b", None),
        ("disk/a", "disk/b", None),
        ("disk/a", "disk/a", "same"),
        ("disk/a/b/c", "disk", "library inside"),
        ("disk/a", "disk/a/b", "downloads inside"),
    ],
)
def test_folders_are_distinguished_by_a_probe_file(
    library: str, downloads: str, found: str | None, tmp_path: Path
) -> None:
    """Neither the names nor a listing tell; nothing of the probe remains."""
    (tmp_path / "disk" / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "disk" / "b").mkdir()
    _second_name(tmp_path)

    assert overlap(tmp_path / library, tmp_path / downloads) == found
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_download_under_a_second_name_of_the_library_is_refused(
    tmp_path: Path, library: Path, downloads: Path
) -> None:
    """A torrent may be saved anywhere: each is looked at, a folder of them once."""
    inside = library / "Film"
    inside.mkdir()
    second_name = _second_name(tmp_path)
    separation = Separation(library)

    separation.check(downloads / "Film")
    separation.check(downloads / "film.mp4")
    for location in (
        inside,
        second_name / "library" / "Film",
        second_name / "library",
        tmp_path / "disk",
    ):
        with pytest.raises(ItemError, match="under two names"):
            separation.check(location)


def test_only_another_name_of_a_file_survives_the_removal(
    tmp_path: Path, library: Path, downloads: Path
) -> None:
    """A second name does, a copy does; the same name seen by another path does not."""
    film = downloads / "film.mp4"
    film.write_bytes(b"film")
    (library / "copy.mp4").write_bytes(b"film")
    os.link(film, library / "link.mp4")
    second_name = str(_second_name(tmp_path) / "downloads")
    folders = [str(downloads / "other"), second_name]
    status = film.stat()

    with open_folder(library) as opened:
        assert survives(status, folders, "link.mp4", opened)
        assert survives(status, folders, "copy.mp4", opened)
    with open_folder(downloads) as opened:
        assert not survives(status, folders, "film.mp4", opened)
    (library / "link.mp4").unlink()
    with open_folder(downloads) as opened:
        # The only name, wherever it is.
        assert not survives(film.stat(), [], "film.mp4", opened)
    assert sorted(path.name for path in tmp_path.rglob(".*")) == []


def test_a_pool_that_gives_no_second_name_proves_nothing(
    library: Path, downloads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new file may go to another disk of it, so that not finding it says nothing."""
    (library / "film.mp4").write_bytes(b"film")
    film = downloads / "film.mp4"
    film.write_bytes(b"film")
    mounts = tmp_path / "mountinfo"
    monkeypatch.setattr("stashhog_core.paths.MOUNTS", mounts)

    def link(*args: object, **options: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    with open_folder(library) as opened:
        mounts.write_text("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
        alone = survives(film.stat(), [str(downloads)], "film.mp4", opened)
        mounts.write_text("22 1 0:9 / / rw - fuse.mergerfs a:b rw\n")
        with pytest.raises(ItemError, match="cannot verify"):
            survives(film.stat(), [str(downloads)], "film.mp4", opened)

    assert alone


def test_the_kernels_list_of_mounts_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The longest mount point counts, the last one of a place; names may be odd."""
    mounts = tmp_path / "mountinfo"
    monkeypatch.setattr("stashhog_core.paths.MOUNTS", mounts)
    mounts.write_bytes(
        b"22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
        b"40 22 8:2 /in/x /mnt/my\\040films rw shared:1 - xfs /dev/sdb1 rw\n"
        b"41 22 8:3 / /mnt/a rw - xfs /dev/sdc1 rw\n"
        b"42 22 0:50 /sub\xff /mnt/a rw - btrfs /dev/sdd1 rw\n"
        b"no mount\n"
    )

    assert mount_of("/home") == Mount(22, 1, "8:1", "/", "/", "ext4", "/dev/sda1")
    assert mount_of("/mnt/my films/a") == Mount(
        40, 22, "8:2", "/in/x", "/mnt/my films", "xfs", "/dev/sdb1"
    )
    there = mount_of(Path("/mnt/a"))
    assert there is not None
    assert (there.kind, os.fsencode(there.root)) == ("btrfs", b"/sub\xff")
    assert mount_of(Path("/mnt/ab")) == mount_of(Path("/"))
    mounts.unlink()
    assert mount_of(Path("/")) is None


def test_a_folder_of_a_pool_is_the_same_as_one_of_its_disks(
    tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mergerfs makes a probe on another disk, and says itself which folders it shows.

    Its word counts only if the probe is in one of them: seen from a container, these
    paths are those of other folders.
    """
    disks = [tmp_path / "disk1" / "films", tmp_path / "disk2" / "films"]
    for disk in disks:
        disk.mkdir(parents=True)
    # The pool makes what is new on the second disk.
    pool = tmp_path / "pool"
    pool.symlink_to(tmp_path / "disk2")
    listed = b"\0".join(os.fsencode(disk) for disk in disks)
    monkeypatch.setattr(os, "getxattr", lambda *_: listed)

    assert overlap(pool / "films", disks[0]) == "same"
    assert overlap(pool / "films", disks[0].parent) == "library inside"
    assert overlap(pool / "films", tmp_path / "disk3") is None
    # The same paths, of which none holds the probe.
    assert overlap(library, disks[0]) is None


_LIST = """\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 8:2 /in {tmp}/in rw - xfs /dev/sdb1 rw
31 22 8:2 /out {tmp}/out rw - xfs /dev/sdb1 rw
32 22 8:3 / {tmp}/other rw - exfat /dev/sdc1 rw
33 22 0:40 / {tmp}/pool rw - fuse.mergerfs a:b rw
"""


@pytest.mark.parametrize(
    ("code", "source", "folder", "why"),
    [
        (errno.EMLINK, "in", "in", "as many hard links as its file system"),
        (
            errno.EXDEV,
            "in",
            "out",
            "{tmp}/in and {tmp}/out are two mounts of one file system (xfs on "
            "/dev/sdb1)",
        ),
        (
            errno.EXDEV,
            "in",
            "other",
            "{tmp}/in (xfs on /dev/sdb1) and {tmp}/other (exfat on /dev/sdc1) are "
            "different file systems",
        ),
        (errno.EXDEV, "pool/a", "pool/b", "{tmp}/pool (fuse.mergerfs on a:b) has"),
        (errno.EXDEV, "out", "out/deep", "because of a project quota"),
        (errno.EOPNOTSUPP, "other", "other", "{tmp}/other (exfat on /dev/sdc1) has no"),
        (errno.EPERM, "in", "in", "marked as immutable"),
    ],
)
def test_why_no_link_is_possible_is_said_with_the_mounts(
    code: int,
    source: str,
    folder: str,
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each cause asks for another remedy; the system's own words tell none."""
    for name in (source, folder):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    film = tmp_path / source / "film.mp4"
    film.write_bytes(b"film")
    mounts = tmp_path / "mountinfo"
    mounts.write_text(_LIST.format(tmp=tmp_path.resolve()))
    monkeypatch.setattr("stashhog_core.paths.MOUNTS", mounts)

    said = why_no_link(OSError(code, os.strerror(code)), str(film), tmp_path / folder)

    assert why.format(tmp=tmp_path.resolve()) in said


def test_a_link_that_the_kernel_keeps_to_the_owner_is_said_to_be_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`fs.protected_hardlinks`: not when it is off, or the file may be written to."""
    film = tmp_path / "film.mp4"
    film.write_bytes(b"film")
    setting = tmp_path / "protected_hardlinks"
    setting.write_text("1\n")
    monkeypatch.setattr(filesystems, "PROTECTED_LINKS", setting)
    monkeypatch.setattr(os, "geteuid", lambda: film.stat().st_uid + 1)
    monkeypatch.setattr(os, "access", lambda *_, **options: False)
    refused = OSError(errno.EPERM, "Operation not permitted")

    protected = why_no_link(refused, str(film), tmp_path)
    setting.write_text("0\n")
    off = why_no_link(refused, str(film), tmp_path)

    assert f"account with number {film.stat().st_uid}" in protected
    assert "fs.protected_hardlinks" in protected
    assert "fs.protected_hardlinks" not in off


@pytest.mark.parametrize("character", ["", *'"*:<>?\\|', "\udcff"])
@pytest.mark.parametrize("last", ["", ".", " "])
def test_whatever_is_tried_can_be_swept(
    character: str, last: str, library: Path
) -> None:
    """Each name of a trial is known again by the run after a kill; no other goes."""
    (library / temporary_name(character, last)).touch()
    (library / ".stashhog-film.part").touch()

    with open_folder(library) as opened:
        assert remove_leftovers(opened) == 1
    assert [path.name for path in library.iterdir()] == [".stashhog-film.part"]
