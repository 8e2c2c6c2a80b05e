"""The pages of the ledger and of the file index, over HTTP."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from stashhog_core.db.models import DownloadItem, LibraryFile, Scene, SceneFile
from stashhog_core.db.models import SceneFingerprint as Fingerprint
from stashhog_core.db.session import Database
from stashhog_core.settings import Settings
from tests.support.pages import browser_let_in

EVIL = "<img src=x onerror=alert(1)> \u202egpj.exe"
NUMBER = 230


@pytest.fixture
def client(database: Database, tmp_path: Path) -> Iterator[TestClient]:
    """A browser that was let in."""
    with browser_let_in(database, Settings(home=tmp_path / "home")) as client:
        yield client


@pytest.fixture
def ids(database: Database) -> list[int]:
    """More rows than a page shows; each second one is blocked."""
    rows = [
        DownloadItem(
            source="folder",
            entry_key=str(number),
            entry_name=f"{EVIL} {number}",
            relative_path="a.mp4",
            size_bytes=2_000_000,
            state="blocked" if number % 2 else "seen",
            reason=EVIL if number % 2 else None,
        )
        for number in range(NUMBER)
    ]
    with database.transaction() as session:
        session.add_all(rows)
        session.flush()
        return [row.id for row in rows]


def pages(client: TestClient, url: str | None) -> list[str]:
    """Return a list from its start, page by page."""
    found = []
    while url:
        answer = client.get(url)
        assert answer.status_code == 200, answer.text
        found.append(answer.text)
        more = re.search(r'class="more button" href="([^"]+)"', answer.text)
        url = unescape(more[1]) if more else None
    return found


def test_the_ledger_comes_page_by_page(client: TestClient, ids: list[int]) -> None:
    """Each file once; names and reasons are text."""
    every = pages(client, "/downloads")
    blocked = pages(client, "/downloads?state=blocked&text=img")

    def shown(texts: list[str]) -> list[int]:
        return [
            int(n) for t in texts for n in re.findall(r'name="id" value="(\d+)"', t)
        ]

    assert shown(every) == ids[::-1]
    assert shown(blocked) == ids[::-1][::2]
    assert "blocked 115" in every[0]
    assert "<img" not in every[0]
    assert "\u202e" not in every[0]


def test_files_are_tried_again_or_forgotten(
    client: TestClient, database: Database, ids: list[int]
) -> None:
    """Those that were selected; the page says how many, and shows the same list."""
    chosen = [ids[1], ids[3]]
    again = client.post(
        "/downloads", data={"act": "retry", "id": chosen, "state": "blocked"}
    )
    forgotten = client.post("/downloads", data={"act": "forget", "id": ids[5]})

    assert "tries 2 files again" in again.text
    assert str(again.url).partition("?")[2].startswith("state=blocked")
    assert "forgotten 1 file." in forgotten.text
    with database.transaction() as session:
        query = select(DownloadItem.id).where(DownloadItem.state == "failed")
        assert sorted(session.scalars(query)) == chosen
        assert session.get(DownloadItem, ids[5]) is None


@pytest.mark.parametrize(
    "sent",
    [{"act": "retry"}, {"act": "burn", "id": "1"}, {"act": "forget", "id": "x"}, {}],
)
def test_what_the_form_cannot_send_changes_nothing(
    client: TestClient, database: Database, ids: list[int], sent: dict[str, str]
) -> None:
    """A page says what is missing."""
    html = {"Accept": "text/html"}
    answer = client.post("/downloads", data=sent, headers=html)
    foreign = client.post(
        "/downloads",
        data={"act": "forget", "id": ids[0]},
        headers={"Origin": "http://evil.example"},
    )

    assert (answer.status_code, foreign.status_code) == (409, 403)
    assert "No file is selected" in answer.text
    with database.transaction() as session:
        assert len(session.scalars(select(DownloadItem.id)).all()) == NUMBER


@pytest.mark.parametrize("view", ["duplicates", "missing", "stash"])
def test_without_an_index_the_page_says_how_to_make_one(
    client: TestClient, database: Database, view: str
) -> None:
    """Nothing was compared: neither that all is well, nor that all is only in Stash."""
    with database.transaction() as session:
        session.add(Scene(id=1))
        session.flush()
        session.add(SceneFile(scene_id=1, file_id=1, position=0, path="/s/a.mp4"))
        known = Fingerprint(scene_id=1, file_id=1, kind="oshash", value="a" * 16)
        session.add(known)

    shown = client.get("/files", params={"view": view}).text

    assert "stashhog run directory_scan -p path=" in shown
    assert "<table" not in shown
    assert "No indexed file" not in shown


def test_what_the_library_counts_is_what_its_link_lists(
    client: TestClient, database: Database
) -> None:
    """Videos that Stash does not have yet, in all states in which that may be."""
    ready = {"source": "folder", "size_bytes": 1, "placed_at": datetime.now(UTC)}
    rows = {
        "placed.mp4": ("placed", "a" * 16),
        "scanned.mp4": ("scanned", "b" * 16),
        "seen.mp4": ("seen", "c" * 16),
        "scanned.srt": ("scanned", None),
    }
    with database.transaction() as session:
        session.add_all(
            DownloadItem(
                **ready,
                entry_key=name,
                entry_name=name,
                relative_path=name,
                state=state,
                oshash=oshash,
            )
            for name, (state, oshash) in rows.items()
        )

    library = client.get("/library").text
    (link,) = re.findall(
        r'<b>2</b> <a href="([^"]+)">downloads not in Stash yet', library
    )
    listed = client.get(link).text

    assert re.findall(r'aria-label="Select ([^"]+)"', listed) == [
        "scanned.mp4",
        "placed.mp4",
    ]
    assert "seen in Stash 1" in listed


def test_the_file_index_lists_duplicates_and_missing_files(
    client: TestClient, database: Database
) -> None:
    """By pages; names are text, and what there is none of is said."""
    with database.transaction() as session:
        for number in range(NUMBER):
            path = f"/library/{EVIL}/{number:03}.mp4"
            session.add(file(path, f"{number // 2:016x}"))
            session.add(file(f"/gone/{number:03}.mp4", None, missing=True))
            session.add(Scene(id=number + 1))
            session.flush()
            of_scene = {"scene_id": number + 1, "file_id": number + 1}
            session.add(SceneFile(**of_scene, position=0, path=f"/s/{number:03} x"))
            known = Fingerprint(**of_scene, kind="oshash", value=f"f{number:015x}")
            session.add(known)

    duplicates = client.get("/files").text
    missing = pages(client, "/files?view=missing")
    only = pages(client, "/files?view=stash")

    assert duplicates.count("000.mp4") == 1
    assert "<img" not in duplicates
    gone = re.findall(r">/gone/(\d+)", "".join(missing))
    assert gone == [f"{number:03}" for number in range(NUMBER)]
    in_stash = re.findall(r">/s/(\d+) x", "".join(only))
    assert in_stash == gone
    assert len(only) == 3


def file(path: str, oshash: str | None, *, missing: bool = False) -> LibraryFile:
    return LibraryFile(
        path=path,
        file_system="fs",
        inode=abs(hash(path)) % 2**40,
        size_bytes=1000,
        mtime_ns=1,
        ctime_ns=1,
        state="ok",
        oshash=oshash,
        missing_since=datetime.now(UTC) if missing else None,
    )
