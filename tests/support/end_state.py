"""What runs leave behind: in the library, in Stash, and in the database.

Numbers that depend on the order of events, such as the ids of scenes and plans, are
replaced by what they stand for, so that the ends of two histories can be compared.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy import select, text

from sandbox.stash.server import StandIn
from stashhog_core.db.models import (
    AnalysisPlan,
    DownloadItem,
    PlanChange,
    Scene,
    SceneFile,
    StashJob,
)
from stashhog_core.db.session import Database
from stashhog_core.params import VerifyMirrorParams
from stashhog_core.progress import Progress
from stashhog_core.settings import get_settings
from stashhog_core.stash.client import StashClient
from stashhog_core.sync.verify import verify_mirror
from tests.support.locks import locks
from tests.support.services import Services
from tests.support.stand_in import asking

_ALL = '(filter:{per_page:-1,sort:"id"})'
_QUERY = f"""{{
  findScenes{_ALL}{{scenes{{
    title code details director date rating100 organized urls
    studio{{name}} tags{{name}} performers{{name}}
    scene_markers{{title seconds end_seconds primary_tag{{name}} tags{{name}}}}
    files{{path size fingerprints{{type value}}}}
    paths{{screenshot preview webp sprite vtt}}
  }}}}
  findTags{_ALL}{{tags{{name aliases}}}}
  findPerformers{_ALL}{{performers{{name}}}}
  findStudios{_ALL}{{studios{{name}}}}
  jobQueue{{description status}}
}}"""


def end_state(services: Services, database: Database) -> dict[str, Any]:
    """Return what there is, by name, in an order that does not depend on ids."""
    return {
        **_files(services),
        **_in_stash(services.stash, services.library),
        **_in_database(database, services),
        "differences of the mirror": _differences(database),
        "locks": locks(database),
    }


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Return where two states differ, a line each."""
    if isinstance(one, dict) and isinstance(other, dict):
        return [
            line
            for key in sorted(one.keys() | other.keys(), key=str)
            for line in differences(one.get(key), other.get(key), f"{where} / {key}")
        ]
    return [] if one == other else [f"{where}: {one!r} became {other!r}"]


def _files(services: Services) -> dict[str, Any]:
    """Return what lies in both folders, and which of the files are the same."""
    downloads = {
        (path.stat().st_dev, path.stat().st_ino): str(path.relative_to(root))
        for root in [services.downloads]
        for path in root.rglob("*")
        if path.is_file()
    }
    library = {}
    for path in services.library.rglob("*"):
        found = path.stat()
        name = str(path.relative_to(services.library))
        if path.is_dir():
            library[name] = "a folder"
        else:
            linked = downloads.get((found.st_dev, found.st_ino))
            library[name] = f"{found.st_size} bytes, linked to {linked}"
    return {"downloads": sorted(downloads.values()), "library": library}


def _in_stash(stash: StandIn, library: Path) -> dict[str, Any]:
    stash.jobs.wait()
    with asking(stash.url) as ask:
        data = ask(_QUERY)["data"]
    scenes = {}
    for scene in data["findScenes"]["scenes"]:
        name = str(Path(scene["files"][0]["path"]).relative_to(library))
        assert name not in scenes, f"two scenes for {name}"
        # Stash writes the scene's id into the addresses.
        media = sorted(kind for kind, url in scene.pop("paths").items() if url)
        scenes[name] = _named({**scene, "paths": media})
    made = Counter(
        (path.parent.name, path.suffix)
        for path in (stash.home / "generated").rglob("*")
        if path.is_file() and path.stat().st_size
    )
    return {
        "scenes": scenes,
        "generated files": dict(made),
        "names": {
            kind: sorted(str(_named(row)) for row in data[field][kind])
            for field, kind in (
                ("findTags", "tags"),
                ("findPerformers", "performers"),
                ("findStudios", "studios"),
            )
        },
        "jobs of Stash": data["jobQueue"] or [],
    }


def _named(value: Any) -> Any:
    """Return an answer with lists sorted."""
    if isinstance(value, dict):
        return {key: _named(part) for key, part in value.items()}
    if isinstance(value, list):
        return sorted((_named(part) for part in value), key=str)
    return value


def _in_database(database: Database, services: Services) -> dict[str, Any]:
    with database.transaction() as session:
        paths = {
            scene_id: str(Path(path).relative_to(services.library))
            for scene_id, path in session.execute(
                select(SceneFile.scene_id, SceneFile.path)
            )
        }
        scenes = {
            paths.get(scene.id, f"scene {scene.id} without a file"): {
                "generated": scene.generated,
                "video_analyzed": scene.video_analyzed,
                "analyzed": scene.analyzed,
                "is missing": scene.missing_since is not None,
            }
            for scene in session.scalars(select(Scene))
        }
        ledger = {
            item.relative_path: {
                "state": item.state,
                "target": item.target_path,
                "method": item.method,
                "oshash": item.oshash,
                "reason": item.reason,
                "placed": item.placed_at is not None,
                "scanned": item.scanned_at is not None,
                "seen": item.seen_at is not None,
            }
            for item in session.scalars(select(DownloadItem))
        }
        changes = Counter(
            f"{paths.get(scene_id)} {field} {action} {key}: {state}"
            for scene_id, field, action, key, state in session.execute(
                select(
                    PlanChange.scene_id,
                    PlanChange.field,
                    PlanChange.action,
                    PlanChange.value_key,
                    PlanChange.state,
                )
            )
        )
        return {
            "flags": scenes,
            "ledger": ledger,
            "changes": dict(changes),
            "plans that are not applied": sorted(
                session.scalars(
                    select(AnalysisPlan.state).where(AnalysisPlan.state != "applied")
                )
            ),
            "open jobs": list(
                session.scalars(select(StashJob.kind).where(StashJob.state == "open"))
            ),
            "prepared transactions": list(
                session.scalars(text("SELECT gid FROM pg_prepared_xacts"))
            ),
        }


def _differences(database: Database) -> list[str]:
    """Return where the mirror differs from Stash, field by field.

    Captions are left out: Stash takes them up with the second scan of a file, and no
    time of change moves, so that only a deep sync sees them.
    """
    with StashClient(get_settings().stash) as client:
        found = verify_mirror(
            client, database, VerifyMirrorParams(scenes=1_000_000), Progress()
        )
    return [
        f"{failure.item} {failure.reason}"
        for failure in found.errors
        if not failure.reason.startswith("captions:")
    ]
