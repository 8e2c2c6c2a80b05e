"""Edits of a Stash library by chance: each kind once, as a person or a job makes them.

They go over GraphQL, so they can be made on any Stash. Some need the folder that Stash
scans, and some a stand-in, whose rows and files can be changed as nothing else could.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import httpx

from sandbox.stash.server import StandIn

IDS = """{
  scene: findScenes(filter:{per_page:-1,sort:"id"}) {rows:scenes{id}}
  marker: findSceneMarkers(filter:{per_page:-1,sort:"id"}) {rows:scene_markers{id}}
  tag: findTags(filter:{per_page:-1,sort:"id"}) {rows:tags{id}}
  performer: findPerformers(filter:{per_page:-1,sort:"id"}) {rows:performers{id}}
  studio: findStudios(filter:{per_page:-1,sort:"id"}) {rows:studios{id}}
}"""
GROUPS = (
    'query{findScenes(filter:{per_page:-1,sort:"id"}){scenes{id groups{group{id}}}}}'
)
PATHS = 'query{findScenes(filter:{per_page:-1,sort:"id"}){scenes{id files{path}}}}'
LEAST_ROWS = 6
"""Nothing is removed of a kind that has so few rows."""


class RefusedEditError(Exception):
    """Stash does not take the edit, such as a name that is taken: nothing happened."""


@dataclass
class Editor:
    """Makes edits by chance.

    Attributes:
        client: Its connection to the Stash server.
        random: Where chance comes from.
        folder: The folder that Stash scans.
        name: What tells its texts from those of other editors of the same Stash.
        video: A video to be copied there.
        server: The stand-in, if it is one.
        silent: Scenes of which something changed that only a deep sync finds.
        groups: Groups that were created.
    """

    client: httpx.Client
    random: Random
    folder: Path
    video: bytes
    name: str = ""
    server: StandIn | None = None
    silent: set[int] = field(default_factory=set)
    groups: list[int] = field(default_factory=list)
    _number: int = 0

    def ask(self, document: str, **variables: Any) -> Any:
        """Send a document; return its data."""
        sent = {"query": document, "variables": variables}
        answer = self.client.post("/graphql", json=sent).json()
        if answer.get("errors"):
            raise RefusedEditError(answer["errors"][0]["message"])
        return answer["data"]

    def send(self, mutation: str, input_type: str = "", **given: Any) -> int:
        """Send a mutation that answers a row, or rows; return the (last) id."""
        kind = input_type or f"{mutation[0].upper()}{mutation[1:]}Input"
        document = f"mutation($i:{kind}!){{row:{mutation}(input:$i){{id}}}}"
        row = self.ask(document, i=given)["row"]
        return int((row[-1] if isinstance(row, list) else row)["id"])

    def ids(self, kind: str) -> list[int]:
        """Return the ids of all rows of a kind."""
        return [int(row["id"]) for row in self.ask(IDS)[kind]["rows"]]

    def one(self, kind: str) -> int:
        """Return one of them."""
        found = self.ids(kind)
        if not found:
            raise RefusedEditError(f"no {kind}")
        return self.random.choice(found)

    def some(self, kind: str, most: int = 3) -> list[int]:
        """Return a few of them, or none."""
        found = self.ids(kind)
        return self.random.sample(found, min(len(found), self.random.randint(0, most)))

    def one_to_remove(self, kind: str) -> int:
        """Return one of them, unless there are few."""
        if len(found := self.ids(kind)) <= LEAST_ROWS:
            raise RefusedEditError(f"few {kind}s")
        return self.random.choice(found)

    def word(self) -> str:
        """Return a text that was not there before."""
        self._number += 1
        first = self.random.choice(["Äther", "Blue", "東京", "o"])
        return f"{first} {self._number} of {self.name}"

    def wait_for_jobs(self) -> None:
        """Wait until Stash has no job."""
        while self.ask("{jobQueue{id}}")["jobQueue"]:
            time.sleep(0.02)

    def scan(self, **given: Any) -> None:
        """Have Stash scan the folder."""
        paths = [str(self.folder)]
        document = "mutation($i:ScanMetadataInput!){metadataScan(input:$i)}"
        self.ask(document, i={"paths": paths, **given})
        self.wait_for_jobs()

    def files(self) -> list[Path]:
        """Return the videos in the folder."""
        return sorted(self.folder.rglob("*.mp4"))

    def one_file(self) -> Path:
        """Return one of them."""
        if not (found := self.files()):
            raise RefusedEditError("no file")
        return self.random.choice(found)

    def write_file(self, path: Path) -> None:
        """Write a video whose content no other file has."""
        self._number += 1
        path.write_bytes(self.video + f"{self._number} {self.random.random()}".encode())

    def stored_late(self, table: str, column: str) -> None:
        """Change a row as an edit does that waited for the database."""
        server = self.stand_in()
        row = server.store.rows(
            f"SELECT id, updated_at FROM {table} "  # noqa: S608
            "ORDER BY RANDOM() LIMIT 1"
        )
        if not row:
            raise RefusedEditError(f"no row in {table}")
        now = datetime.fromisoformat(server.clock.now())
        seconds = self.random.choice([0, 1, 2, 30, 600, 3000])
        stamp = server.clock.text(now - timedelta(seconds=seconds))
        if stamp == row[0][1]:
            raise RefusedEditError("the same second as the row's last change")
        with server.store.transaction() as writer:
            values = {column: self.word(), "updated_at": stamp}
            writer.update(table, [row[0][0]], values)

    def stand_in(self) -> StandIn:
        """Return the stand-in, if the Stash is one."""
        if self.server is None:
            raise RefusedEditError("not of a real Stash")
        return self.server


Edit = Callable[[Editor], object]

EDITS: dict[str, Edit] = {}
"""Every kind of edit by its name."""


def edit(make: Edit) -> Edit:
    """Add a kind of edit."""
    EDITS[make.__name__] = make
    return make


def _scene(**given: Callable[[Editor], Any]) -> Edit:
    """Return an edit of one scene that sets some fields."""

    def make(editor: Editor) -> None:
        fields = {name: of(editor) for name, of in given.items()}
        editor.send("sceneUpdate", id=editor.one("scene"), **fields)

    return make


def _rows(kind: str) -> Callable[[Editor], list[int]]:
    return lambda editor: editor.some(kind)


def _word(editor: Editor) -> str:
    return editor.word()


def _words(editor: Editor) -> list[str]:
    return [editor.word() for _ in range(editor.random.randint(0, 3))]


def _box_ids(editor: Editor) -> list[dict[str, str]]:
    return [
        {"endpoint": "http://box.example/graphql", "stash_id": editor.word()}
        for _ in range(editor.random.randint(0, 2))
    ]


def _chance(*values: Any) -> Callable[[Editor], Any]:
    return lambda editor: editor.random.choice(values)


def _studio_or_none(editor: Editor) -> int | None:
    return editor.random.choice([None, *editor.ids("studio")])


def _addresses(editor: Editor) -> list[str]:
    return [
        f"http://site.example/{editor.random.randint(1, 99)}/{n}"
        for n in range(editor.random.randint(0, 3))
    ]


EDITS |= {
    "scene: title": _scene(title=_word),
    "scene: code": _scene(code=_word),
    "scene: details": _scene(details=_word),
    "scene: director": _scene(director=_word),
    "scene: date": _scene(date=_chance("2024-05-06", "2023-01-01", None)),
    "scene: rating": _scene(rating100=_chance(1, 50, 100, None)),
    "scene: organized": _scene(organized=_chance(True, False)),
    "scene: addresses": _scene(urls=_addresses),
    "scene: studio": _scene(studio_id=_studio_or_none),
    "scene: tags": _scene(tag_ids=_rows("tag")),
    "scene: performers": _scene(performer_ids=_rows("performer")),
    "scene: ids of boxes": _scene(stash_ids=_box_ids),
    "scene: position": _scene(resume_time=_chance(0.5, 1.5, 0.0)),
    "scene: nothing": _scene(),
    "scene: several fields": _scene(
        title=_word, tag_ids=_rows("tag"), studio_id=_studio_or_none
    ),
}

for _kind, _fields in {
    "tag": {
        "name": _word,
        "description": _word,
        "sort_name": _word,
        "aliases": _words,
        "favorite": _chance(True, False),
        "ignore_auto_tag": _chance(True, False),
        "stash_ids": _box_ids,
        "parent_ids": _rows("tag"),
        "child_ids": _rows("tag"),
    },
    "performer": {
        "name": _word,
        "disambiguation": _word,
        "gender": _chance("FEMALE", "MALE", None),
        "birthdate": _chance("1990-01-02", None),
        "height_cm": _chance(160, 180, None),
        "details": _word,
        "alias_list": _words,
        "urls": _addresses,
        "rating100": _chance(10, 90, None),
        "custom_fields": lambda e: {"full": {"note": e.word()}},
        "tag_ids": _rows("tag"),
        "stash_ids": _box_ids,
    },
    "studio": {
        "name": _word,
        "details": _word,
        "aliases": _words,
        "urls": _addresses,
        "favorite": _chance(True, False),
        "parent_id": _studio_or_none,
        "tag_ids": _rows("tag"),
    },
}.items():
    for _name, _of in _fields.items():

        def _change(
            editor: Editor,
            kind: str = _kind,
            name: str = _name,
            of: Callable[[Editor], Any] = _of,
        ) -> None:
            editor.send(f"{kind}Update", id=editor.one(kind), **{name: of(editor)})

        EDITS[f"{_kind}: {_name}"] = _change


@edit
def create_scene(editor: Editor) -> None:
    editor.send("sceneCreate", title=editor.word())


@edit
def create_scene_with_all(editor: Editor) -> None:
    editor.send(
        "sceneCreate",
        title=editor.word(),
        tag_ids=editor.some("tag"),
        performer_ids=editor.some("performer"),
        studio_id=_studio_or_none(editor),
        urls=_addresses(editor),
    )


@edit
def create_scenes_and_remove_one(editor: Editor) -> None:
    removed = editor.one_to_remove("scene")
    editor.send("sceneCreate", title=editor.word())
    editor.ask("mutation($i:ID!){sceneDestroy(input:{id:$i})}", i=removed)


@edit
def create_and_remove_a_scene(editor: Editor) -> None:
    new = editor.send("sceneCreate", title=editor.word())
    editor.ask("mutation($i:ID!){sceneDestroy(input:{id:$i})}", i=new)


@edit
def destroy_scene(editor: Editor) -> None:
    doomed = editor.one_to_remove("scene")
    editor.ask("mutation($i:ID!){sceneDestroy(input:{id:$i})}", i=doomed)


@edit
def destroy_scenes(editor: Editor) -> None:
    doomed = list({editor.one_to_remove("scene") for _ in range(2)})
    editor.ask("mutation($i:[ID!]!){scenesDestroy(input:{ids:$i})}", i=doomed)


def _bulk(editor: Editor, **given: Any) -> None:
    if scenes := editor.some("scene", 6):
        editor.send("bulkSceneUpdate", ids=scenes, **given)


@edit
def add_tags_to_scenes(editor: Editor) -> None:
    _bulk(editor, tag_ids={"ids": editor.some("tag"), "mode": "ADD"})


@edit
def remove_tags_of_scenes(editor: Editor) -> None:
    _bulk(editor, tag_ids={"ids": editor.some("tag"), "mode": "REMOVE"})


@edit
def set_performers_of_scenes(editor: Editor) -> None:
    _bulk(editor, performer_ids={"ids": editor.some("performer"), "mode": "SET"})


@edit
def set_studio_of_scenes(editor: Editor) -> None:
    _bulk(editor, studio_id=_studio_or_none(editor), rating100=40)


@edit
def add_addresses_to_scenes(editor: Editor) -> None:
    _bulk(editor, urls={"values": _addresses(editor), "mode": "ADD"})


@edit
def play_scene(editor: Editor) -> None:
    scene = editor.one("scene")
    editor.ask("mutation($i:ID!){sceneAddPlay(id:$i){count}}", i=scene)
    editor.silent.add(scene)


@edit
def count_o(editor: Editor) -> None:
    scene = editor.one("scene")
    editor.ask("mutation($i:ID!){sceneAddO(id:$i){count}}", i=scene)
    editor.silent.add(scene)


@edit
def save_activity(editor: Editor) -> None:
    scene = editor.one("scene")
    document = "mutation($i:ID!){sceneSaveActivity(id:$i,resume_time:1,playDuration:2)}"
    editor.ask(document, i=scene)
    editor.silent.add(scene)


@edit
def put_scene_into_group(editor: Editor) -> None:
    if not editor.groups or editor.random.random() < 0.3:
        editor.groups.append(editor.send("groupCreate", name=editor.word()))
    group = editor.random.choice(editor.groups)
    places = [{"group_id": group, "scene_index": editor.random.randint(1, 9)}]
    editor.send("sceneUpdate", id=editor.one("scene"), groups=places)


@edit
def rename_group(editor: Editor) -> None:
    if not editor.groups:
        raise RefusedEditError("no group")
    group = editor.random.choice(editor.groups)
    editor.send("groupUpdate", id=group, name=editor.word())
    for scene in editor.ask(GROUPS)["findScenes"]["scenes"]:
        if any(int(place["group"]["id"]) == group for place in scene["groups"]):
            editor.silent.add(int(scene["id"]))


@edit
def put_scene_into_gallery(editor: Editor) -> None:
    gallery = editor.send("galleryCreate", title=editor.word())
    editor.send("sceneUpdate", id=editor.one("scene"), gallery_ids=[gallery])


@edit
def create_marker(editor: Editor) -> None:
    editor.send(
        "sceneMarkerCreate",
        scene_id=editor.one("scene"),
        title=editor.word(),
        seconds=editor.random.randint(0, 50) / 2,
        primary_tag_id=editor.one("tag"),
        tag_ids=editor.some("tag"),
    )


def _marker(editor: Editor, **given: Any) -> None:
    editor.send("sceneMarkerUpdate", id=editor.one("marker"), **given)


@edit
def rename_marker(editor: Editor) -> None:
    _marker(editor, title=editor.word())


@edit
def move_marker_in_time(editor: Editor) -> None:
    seconds = float(editor.random.randint(0, 50))
    _marker(editor, seconds=seconds, end_seconds=seconds + 1)


@edit
def move_marker_to_another_scene(editor: Editor) -> None:
    _marker(editor, scene_id=editor.one("scene"))


@edit
def change_primary_tag_of_marker(editor: Editor) -> None:
    _marker(editor, primary_tag_id=editor.one("tag"))


@edit
def change_tags_of_marker(editor: Editor) -> None:
    _marker(editor, tag_ids=editor.some("tag"))


@edit
def destroy_marker(editor: Editor) -> None:
    marker = editor.one("marker")
    editor.ask("mutation($i:ID!){sceneMarkerDestroy(id:$i)}", i=marker)


@edit
def replace_marker(editor: Editor) -> None:
    destroy_marker(editor)
    create_marker(editor)


@edit
def create_tag(editor: Editor) -> None:
    editor.send("tagCreate", name=editor.word(), aliases=_words(editor))


@edit
def create_tag_above_others(editor: Editor) -> None:
    editor.send("tagCreate", name=editor.word(), child_ids=editor.some("tag"))


@edit
def create_tag_below_others(editor: Editor) -> None:
    editor.send("tagCreate", name=editor.word(), parent_ids=editor.some("tag"))


@edit
def create_performer(editor: Editor) -> None:
    tags = editor.some("tag")
    editor.send("performerCreate", name=editor.word(), tag_ids=tags)


@edit
def create_studio(editor: Editor) -> None:
    parent = _studio_or_none(editor)
    editor.send("studioCreate", name=editor.word(), parent_id=parent)


def _destroy(editor: Editor, kind: str) -> None:
    doomed = editor.one_to_remove(kind)
    editor.ask(f"mutation($i:ID!){{{kind}Destroy(input:{{id:$i}})}}", i=doomed)


@edit
def destroy_tag(editor: Editor) -> None:
    _destroy(editor, "tag")


@edit
def destroy_performer(editor: Editor) -> None:
    _destroy(editor, "performer")


@edit
def destroy_studio(editor: Editor) -> None:
    _destroy(editor, "studio")


@edit
def replace_tag(editor: Editor) -> None:
    _destroy(editor, "tag")
    create_tag(editor)


@edit
def replace_performer(editor: Editor) -> None:
    _destroy(editor, "performer")
    create_performer(editor)


@edit
def replace_studio(editor: Editor) -> None:
    _destroy(editor, "studio")
    create_studio(editor)


@edit
def merge_tags(editor: Editor) -> None:
    source, into = editor.one_to_remove("tag"), editor.one("tag")
    editor.send("tagsMerge", source=[source], destination=into)


@edit
def merge_tags_and_create_one(editor: Editor) -> None:
    merge_tags(editor)
    create_tag(editor)


@edit
def add_file(editor: Editor) -> None:
    editor.write_file(editor.folder / f"{editor.random.randrange(10**9)}.mp4")
    editor.scan()


@edit
def add_copy_of_file(editor: Editor) -> None:
    path = editor.one_file()
    copy = path.with_name(f"copy {editor.random.randrange(10**9)}.mp4")
    copy.write_bytes(path.read_bytes())
    editor.scan()


@edit
def move_file(editor: Editor) -> None:
    path = editor.one_file()
    folder = editor.folder / editor.random.choice(["a", "b"])
    folder.mkdir(exist_ok=True)
    path.rename(folder / f"moved {editor.random.randrange(10**9)}.mp4")
    editor.scan()


@edit
def rename_folder(editor: Editor) -> None:
    """A real Stash changes the paths of the files, and no time of change."""
    path = editor.one_file()
    if path.parent == editor.folder:
        raise RefusedEditError("no folder of its own")
    for scene in editor.ask(PATHS)["findScenes"]["scenes"]:
        if any(Path(f["path"]).parent == path.parent for f in scene["files"]):
            editor.silent.add(int(scene["id"]))
    path.parent.rename(editor.folder / f"folder {editor.random.randrange(10**9)}")
    editor.scan()


@edit
def replace_file(editor: Editor) -> None:
    editor.write_file(editor.one_file())
    editor.scan()


@edit
def scan_again(editor: Editor) -> None:
    editor.scan(rescan=True)


@edit
def remove_file_and_clean(editor: Editor) -> None:
    if len(files := editor.files()) < 3:
        raise RefusedEditError("few files")
    editor.random.choice(files).unlink()
    paths = [str(editor.folder)]
    document = "mutation($i:CleanMetadataInput!){metadataClean(input:$i)}"
    editor.ask(document, i={"paths": paths, "dryRun": False})
    editor.wait_for_jobs()


@edit
def store_a_scene_late(editor: Editor) -> None:
    editor.stored_late("scenes", "title")


@edit
def store_a_marker_late(editor: Editor) -> None:
    editor.stored_late("scene_markers", "title")


@edit
def store_a_tag_late(editor: Editor) -> None:
    editor.stored_late("tags", "name")


@edit
def store_a_performer_late(editor: Editor) -> None:
    editor.stored_late("performers", "name")


@edit
def store_a_studio_late(editor: Editor) -> None:
    editor.stored_late("studios", "name")


@edit
def give_a_scene_a_time_in_the_future(editor: Editor) -> None:
    server, scene = editor.stand_in(), editor.one("scene")
    moment = datetime.fromisoformat(server.clock.now())
    moment += timedelta(days=editor.random.randint(1, 400))
    with server.store.transaction() as writer:
        stamp = {"title": editor.word(), "updated_at": server.clock.text(moment)}
        writer.update("scenes", [scene], stamp)


def fill(editor: Editor) -> None:
    """Give an empty library some of everything."""
    counts: Mapping[Edit, int] = {
        create_tag: 8,
        create_performer: 7,
        create_studio: 7,
        create_scene_with_all: 8,
        create_marker: 5,
        add_file: 3,
    }
    for make, number in counts.items():
        for _ in range(number):
            make(editor)


def make_one(editor: Editor, names: Sequence[str]) -> str | None:
    """Make an edit of one of these kinds; return which, None: Stash refuses it."""
    name = editor.random.choice(names)
    try:
        EDITS[name](editor)
    except RefusedEditError:
        return None
    return name
