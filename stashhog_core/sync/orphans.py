"""The job `remove_orphans`: take away what Stash has no longer, and nothing else.

The rules are those of sync: only a complete listing shows that a row is gone. The row
is first marked as missing and removed by a later run, within the removal limit.
"""

from collections.abc import Collection, Mapping

from sqlalchemy import func, select

from stashhog_core.db.locks import job_lock
from stashhog_core.db.manifest import SCENE, forget_hashes
from stashhog_core.db.scenes import scene_titles, scenes_of_entities
from stashhog_core.db.session import Database
from stashhog_core.params import RemoveOrphansParams
from stashhog_core.progress import Progress
from stashhog_core.results import RemoveOrphansResult
from stashhog_core.stash.client import StashClient
from stashhog_core.sync.entities import KINDS
from stashhog_core.sync.history import JOB
from stashhog_core.sync.removals import SHOWS_NONE, mark_missing, remove_missing
from stashhog_core.sync.survey import begin_survey

SAMPLES = 100
_LISTED_SHARE = 0.8

Gone = Mapping[str, tuple[Collection[int], Collection[int]]]
"""By kind: rows that are newly gone, and those that an earlier run had marked."""


def remove_orphans(
    stash: StashClient,
    database: Database,
    params: RemoveOrphansParams,
    progress: Progress,
) -> RemoveOrphansResult:
    """Mark what is newly gone from Stash; remove what was marked by an earlier run.

    Args:
        stash: The Stash server.
        database: The mirror.
        params: Which kinds; whether only to report.
        progress: Receives what is being compared.

    Raises:
        TransientError: Stash or the database is away, or a sync is under way.
        JobError: Stash refuses to answer.
        JobCancelled: A stop was asked for.
    """
    with job_lock(database, JOB):
        progress.update(0, "Comparing with Stash")
        gone, unverified = _gone(stash, database, params)
        progress.update(_LISTED_SHARE, "Checking what is gone from Stash")
        samples = _samples(database, gone)
        blocked = [unverified] if unverified else []
        removed = {kind: len(missing) for kind, (_, missing) in gone.items()}
        if not params.dry_run:
            for kind, (vanished, missing) in gone.items():
                with database.transaction() as session:
                    if kind != SCENE:
                        # As a sync would: a merged tag's scenes have another one now.
                        touched = scenes_of_entities(session, kind, vanished)
                        forget_hashes(session, touched)
                    mark_missing(session, kind, vanished)
                    removed[kind], reason = remove_missing(
                        session,
                        kind,
                        vanished,
                        missing,
                        confirmed=params.confirm_removals,
                    )
                if reason:
                    blocked.append(reason)
        progress.update(1.0, f"{sum(removed.values())} rows are gone from Stash")
    return RemoveOrphansResult(
        status="completed_with_errors" if blocked else "completed",
        dry_run=params.dry_run,
        marked={kind: len(vanished) for kind, (vanished, _) in gone.items()},
        removed=removed,
        samples=tuple(samples),
        held="\n".join(blocked).replace("run sync", "run remove_orphans") or None,
    )


def _gone(
    stash: StashClient, database: Database, params: RemoveOrphansParams
) -> tuple[Gone, str | None]:
    """Return what is gone, of the kinds asked for, and what could not be verified."""
    with begin_survey(stash, database) as survey:
        survey.compare_scenes()
    wanted = {
        "performer": params.remove_performers,
        "tag": params.remove_tags,
        "studio": params.remove_studios,
    }
    gone: dict[str, tuple[Collection[int], Collection[int]]] = {
        kind: (found.vanished, found.missing)
        for kind, found in survey.entities.items()
        if wanted[kind] and (found.vanished or found.missing)
    }
    scenes = survey.scenes
    if not params.remove_scenes or not (scenes.vanished or scenes.missing):
        return gone, None
    if not survey.total and not params.confirm_removals:
        return gone, SHOWS_NONE
    if stash.count_scenes() > survey.total:
        # More than were listed: scenes came meanwhile, or the listing was cut short.
        return gone, "Stash's scenes changed while they were listed: run the job again"
    gone[SCENE] = (scenes.vanished, scenes.missing)
    return gone, None


def _samples(database: Database, gone: Gone) -> list[str]:
    lines: list[str] = []
    for kind, (vanished, missing) in gone.items():
        ids = sorted({*vanished, *missing})[:SAMPLES]
        with database.transaction() as session:
            if kind == SCENE:
                names = scene_titles(session, ids)
            else:
                model = KINDS[kind].model
                rows = session.execute(
                    select(model.id, model.name).where(model.id == func.any(ids))
                )
                names = {row.id: row.name for row in rows}
        lines += [f"{kind} {id_}: {names.get(id_, '')}" for id_ in ids]
    return lines[:SAMPLES]
