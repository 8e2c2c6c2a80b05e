"""Path maps are found by the longest common end of the paths, and by the content."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stashhog_core.hashing import oshash
from stashhog_core.health.path_map import proposed_mappings, survey
from stashhog_core.paths import PathMap
from stashhog_core.stash.documents import ScanFolder
from stashhog_core.stash.payloads import Fingerprint, LocatedFile

NAMES = st.lists(
    st.text(
        st.characters(
            codec="utf-8", exclude_characters="/\\\0", categories=("L", "N", "Zs")
        ),
        min_size=1,
        max_size=8,
    ).filter(lambda n: n.strip() == n),
    min_size=1,
    max_size=4,
)


def located(path: str, hash_: str) -> LocatedFile:
    """Return a file of Stash's with this oshash."""
    return LocatedFile(
        path=path, fingerprints=(Fingerprint(type="oshash", value=hash_),)
    )


def written(path: Path, content: bytes = b"a video of some length") -> str:
    """Write a file and return its oshash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return oshash(path)


def proposed(
    files: list[LocatedFile], roots: list[str], *folders: Path
) -> dict[str, str]:
    """Return the mappings that are proposed for files in a library of these folders."""
    return proposed_mappings(files, [ScanFolder(path=root) for root in roots], folders)


@pytest.mark.parametrize(
    ("remote", "root", "local", "mapping"),
    [
        ("/data/a/b.mp4", "/data", "videos/a/b.mp4", ("/data", "videos")),
        ("/data/a/b.mp4", "/data/a", "a/b.mp4", ("/data/a", "a")),
        ("/data/old/b.mp4", "/data", "new/b.mp4", ("/data/old", "new")),
        (r"D:\videos\a\b.mp4", r"D:\videos", "nas/a/b.mp4", (r"D:\videos", "nas")),
    ],
)
def test_the_mapping_is_that_of_the_library_folder(
    remote: str, root: str, local: str, mapping: tuple[str, str], tmp_path: Path
) -> None:
    """If all below the folder is the same here; else of the part that differs."""
    file = located(remote, written(tmp_path / local))
    first = tmp_path / local.partition("/")[0]

    found = proposed([file], [root], tmp_path, first)

    assert found == {mapping[0]: str(tmp_path / mapping[1])}
    assert survey([file], PathMap(found)).same == [file]


def test_another_file_of_the_same_name_is_no_proposal(tmp_path: Path) -> None:
    """Only the content tells that it is the same file."""
    written(tmp_path / "a/b.mp4")

    assert proposed([located("/data/a/b.mp4", "0" * 16)], ["/data"], tmp_path) == {}


def test_a_library_that_is_not_here_is_searched_for_a_few_files(tmp_path: Path) -> None:
    """A search takes thousands of lookups, so the others are not searched for."""
    gone = [located(f"/data/{number}.mp4", "0" * 16) for number in range(4)]
    here = located("/data/here.mp4", written(tmp_path / "here.mp4"))

    assert proposed([*gone, here], ["/data"], tmp_path) == {}
    assert proposed([*gone[:3], here], ["/data"], tmp_path) == {"/data": str(tmp_path)}


def test_several_library_folders_have_a_mapping_each(tmp_path: Path) -> None:
    """Files that an earlier mapping leads to add none."""
    one = written(tmp_path / "one/a.mp4", b"first")
    two = written(tmp_path / "two/b.mp4", b"second")
    written(tmp_path / "two/c.mp4", b"second")
    files = [
        located("/x/a.mp4", one),
        located("/y/b.mp4", two),
        located("/y/c.mp4", two),
    ]

    found = proposed(files, ["/x", "/y"], tmp_path / "one", tmp_path / "two")

    assert found == {"/x": str(tmp_path / "one"), "/y": str(tmp_path / "two")}


def test_files_are_sorted_by_how_they_are_found(tmp_path: Path) -> None:
    """Here, elsewhere, and of another content."""
    hash_ = written(tmp_path / "here.mp4")
    files = [
        located("/data/here.mp4", hash_),
        located("/data/gone.mp4", hash_),
        located("/data/here.mp4", "1" * 16),
    ]

    found = survey(files, PathMap({"/data": str(tmp_path)}))

    assert (found.same, found.absent, found.different) == (
        files[:1],
        files[1:2],
        files[2:],
    )


@given(below=NAMES, above=NAMES, name=st.just("film.mp4"))
def test_every_mapping_that_is_proposed_leads_to_the_file(
    below: list[str],
    above: list[str],
    name: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Whatever names the folders have."""
    folder = tmp_path_factory.mktemp("library")
    hash_ = written(folder.joinpath(*below, name))
    root = "/" + "/".join(above)
    remote = "/".join([root, *below, name])

    found = proposed([located(remote, hash_)], [root], folder)

    assert PathMap(found).to_local(remote) == str(folder.joinpath(*below, name))
