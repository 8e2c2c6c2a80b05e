"""What is taken over from the original: flags, plans, downloads and history of syncs.

Everything happens in one transaction, which a dry run rolls back. What was taken over
before is recognized by the numbers that it had in the original, and stays as it is.
"""

import json
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from stashhog_core.batches import batched
from stashhog_core.db.locks import job_lock
from stashhog_core.db.models import (
    AnalysisPlan,
    Performer,
    PlanChange,
    Scene,
    SceneTag,
    Studio,
    SyncRun,
    Tag,
)
from stashhog_core.db.reading import any_of
from stashhog_core.db.session import Database
from stashhog_core.errors import JobError
from stashhog_core.original.source import Row, Source
from stashhog_core.original.values import (
    CHANGE,
    PLAN_STATES,
    Names,
    NotCarriedOver,
    count,
    flag,
    json_value,
    moment,
    proposals,
    stash_id,
    state_of,
    sync_state,
    words,
)
from stashhog_core.plans.plans import BY_USER
from stashhog_core.plans.proposals import NamedValue, name_key

LOCK = "import_stashhog"
SOURCE = "stashhog"
"""Source of the downloads, and trigger of the syncs, that were taken over."""

_FLAGS = ("generated", "video_analyzed", "analyzed")
_FAILED_TAG, _DONE_TAG = "AI_Errored", "AI_Tagged"
_ROWS_PER_STATEMENT = 1000
_EXAMPLES = 5
_NO_SCENE = "The mirror does not have the scene"

_SET_FLAGS = text(
    "WITH given AS (SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r("
    "id bigint, generated boolean, video_analyzed boolean, analyzed boolean)), "
    # In the order in which all jobs lock scenes.
    "locked AS (SELECT s.id FROM scene s JOIN given USING (id) ORDER BY s.id "
    "FOR UPDATE OF s) "
    "UPDATE scene s SET generated = s.generated OR g.generated, "
    "video_analyzed = s.video_analyzed OR g.video_analyzed, "
    "analyzed = s.analyzed OR g.analyzed "
    "FROM given g JOIN locked USING (id) WHERE s.id = g.id AND "
    "((g.generated AND NOT s.generated) OR (g.video_analyzed AND NOT s.video_analyzed) "
    "OR (g.analyzed AND NOT s.analyzed)) RETURNING s.id"
)
_ADD_CHANGES = text(
    "INSERT INTO plan_change (plan_id, scene_id, scene_created_at, field, action, "
    "value_key, base, proposed, confidence, detector, evidence, state, approved_by, "
    "applied_at) SELECT :plan_id, r.scene_id, s.stash_created_at, r.field, r.action, "
    "r.value_key, r.base, r.proposed, r.confidence, r.detector, r.evidence, r.state, "
    "r.approved_by, r.applied_at "
    "FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(scene_id bigint, field text, "
    "action text, value_key text, base jsonb, proposed jsonb, confidence float8, "
    "detector text, evidence jsonb, state text, approved_by text, "
    "applied_at timestamptz, place int) LEFT JOIN scene s ON s.id = r.scene_id "
    "ORDER BY r.place "
    "ON CONFLICT (plan_id, scene_id, field, action, value_key) DO NOTHING "
    "RETURNING (evidence->>'change')::bigint"
)
_ADD_DOWNLOADS = text(
    "INSERT INTO download_item (source, entry_key, entry_name, relative_path, "
    "size_bytes, state, target_path, reason, found_at, placed_at, seen_at) "
    "SELECT :source, r.name, r.name, r.path, coalesce(f.size_bytes, 0), "
    "CASE WHEN f.path IS NULL THEN 'placed' ELSE 'seen' END, r.target, "
    "'placed by the original StashHog', coalesce(r.time, now()), r.time, "
    "CASE WHEN f.path IS NOT NULL THEN coalesce(r.time, now()) END "
    "FROM jsonb_to_recordset(CAST(:rows AS jsonb)) "
    "AS r(name text, path text, target text, time timestamptz, place int) "
    "LEFT JOIN LATERAL (SELECT path, size_bytes FROM scene_file "
    "WHERE path = r.target LIMIT 1) f ON true "
    # The size, which is part of the key, may be known by now.
    "WHERE NOT EXISTS (SELECT FROM download_item i WHERE i.source = :source "
    "AND i.entry_key = r.name AND i.relative_path = r.path) ORDER BY r.place "
    "ON CONFLICT DO NOTHING RETURNING id"
)


@dataclass
class Tally:
    """What became of one kind of rows.

    Attributes:
        found: Rows of the original.
        new: What was taken over.
        known: What had been taken over before, or was the same here.
    """

    found: int = 0
    new: int = 0
    known: int = 0


@dataclass
class LeftOut:
    """Rows that cannot be taken over, for one reason."""

    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass
class TakeOver:
    """The report of a take-over.

    Attributes:
        applied: Whether it was stored; a dry run stores nothing.
        tallies: By kind: scenes, plans, changes, downloads, syncs.
        states: State → new changes of that state.
        left_out: Reason → what was left out for it.
        notes: What else the user should know.
    """

    applied: bool
    tallies: dict[str, Tally] = field(default_factory=dict)
    states: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, LeftOut] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def tally(self, kind: str) -> Tally:
        """Return the tally of a kind, which starts at 0."""
        return self.tallies.setdefault(kind, Tally())

    def leave_out(self, reason: str, item: str) -> None:
        """Note a row that cannot be taken over."""
        left = self.left_out.setdefault(reason, LeftOut())
        left.count += 1
        if len(left.examples) < _EXAMPLES:
            left.examples.append(item)


class _DryRun(Exception):  # noqa: N818 - it ends a transaction, and is no error
    """Rolls the transaction of a dry run back."""


def take_over(database: Database, source: Source, *, apply: bool) -> TakeOver:
    """Take over what the original knows; without `apply`, only report.

    Raises:
        JobError: The mirror is empty: nothing could be matched.
        TransientError: Another take-over runs, or the database is away.
    """
    report = TakeOver(apply)
    with job_lock(database, LOCK):
        try:
            with database.transaction() as session:
                _take_all(session, source, report)
                if not apply:
                    raise _DryRun
        except _DryRun:
            return report
    return report


def _take_all(session: Session, source: Source, report: TakeOver) -> None:
    if session.scalar(select(Scene.id).limit(1)) is None:
        raise JobError(
            "The mirror has no scenes, so that nothing can be matched",
            remedy="run `stashhog run sync` first, then import again",
        )
    tables = source.tables()
    _take_flags(session, source, report)
    _take_plans(session, source, report)
    optional: dict[str, Callable[[Session, Source, TakeOver], None]] = {
        "handled_downloads": _take_downloads,
        "sync_history": _take_syncs,
    }
    for table, take in optional.items():
        if table in tables:
            take(session, source, report)
        else:
            report.notes.append(f"The database has no table {table}")


def _take_flags(session: Session, source: Source, report: TakeOver) -> None:
    """Set the flags that the original has set; none is ever cleared."""
    tally = report.tally("scenes")
    failed = _failed_scenes(session)
    unlucky = 0
    for batch in batched(source.rows("scene"), _ROWS_PER_STATEMENT):
        tally.found += len(batch)
        wanted: dict[int, dict[str, Any]] = {}
        for row in batch:
            flags = {name: flag(row.get(name)) for name in _FLAGS}
            scene_id = stash_id(row.get("id"))
            if scene_id is None:
                report.leave_out("The id is none of Stash's", f"scene {row.get('id')}")
            elif any(flags.values()):
                wanted[scene_id] = flags
            else:
                tally.known += 1
        for scene_id in wanted.keys() & failed:
            unlucky += wanted[scene_id]["video_analyzed"]
            wanted[scene_id]["video_analyzed"] = False
        known = _mirrored(session, wanted)
        for scene_id in sorted(wanted.keys() - known):
            report.leave_out(_NO_SCENE, f"scene {scene_id}")
        rows = [{"id": id_, **wanted[id_]} for id_ in sorted(known)]
        changed = session.scalars(_SET_FLAGS, {"rows": json.dumps(rows)}).all()
        tally.new += len(changed)
        tally.known += len(known) - len(changed)
    if unlucky:
        report.notes.append(
            f"{unlucky:,} scenes will be analyzed again: their tag {_FAILED_TAG} says "
            "that the original's last analysis failed, although it marked them as "
            "analyzed"
        )


def _failed_scenes(session: Session) -> set[int]:
    """Return the scenes whose analysis failed in the original, and never succeeded."""

    def tagged(name: str) -> Any:
        return (
            select(SceneTag.scene_id)
            .join(Tag, Tag.id == SceneTag.tag_id)
            .where(func.lower(Tag.name) == name.lower())
        )

    return set(session.scalars(tagged(_FAILED_TAG).except_(tagged(_DONE_TAG))))


def _take_plans(session: Session, source: Source, report: TakeOver) -> None:
    names = _names(session)
    known = _known_plans(session)
    tally = report.tally("plans")
    for row in source.rows("analysis_plan"):
        tally.found += 1
        number = count(row.get("id"))
        item = f"plan {number}"
        state = PLAN_STATES.get(words(row.get("status")).lower())
        if state is None:
            shown = words(row.get("status"))[:40]
            reason = f"The plan has the unknown state {shown!r}; its changes as well"
            report.leave_out(reason, item)
            continue
        made_at = moment(row.get("created_at"))
        key = (number, made_at.isoformat() if made_at else "")
        plan_id = known.get(key)
        if plan_id is None:
            plan_id = _add_plan(session, row, state, key, report)
            tally.new += 1
        else:
            tally.known += 1
        _take_changes(session, source, names, number, plan_id, report)
    if approved := report.states.get("approved"):
        report.notes.append(
            f"{approved:,} approved changes wait to be applied: see "
            "`stashhog plans list`, and apply a plan with `stashhog plans apply ID`"
        )


_PlanKey = tuple[int, str]


def _known_plans(session: Session) -> dict[_PlanKey, int]:
    """Return the plans that were taken over before, by number and time of creation."""
    stored = AnalysisPlan.facts[SOURCE]
    rows = session.execute(
        select(
            stored["plan"].astext, stored["created_at"].astext, AnalysisPlan.id
        ).where(AnalysisPlan.facts.has_key(SOURCE))
    )
    return {(int(number), made_at): plan_id for number, made_at, plan_id in rows}


def _add_plan(
    session: Session, row: Row, state: str, key: _PlanKey, report: TakeOver
) -> int:
    kept = {"plan": key[0], "created_at": key[1], "job": words(row.get("job_id"))}
    kept["description"] = words(row.get("description"))
    try:
        kept["metadata"] = json_value(row.get("plan_metadata"))
    except NotCarriedOver as error:
        report.leave_out(f"{error.what}: the plan's metadata", f"plan {key[0]}")
    plan = AnalysisPlan(
        name=words(row.get("name")) or f"Plan {key[0]} of the original StashHog",
        state=state,
        detectors={},
        facts={SOURCE: kept},
        applied_at=moment(row.get("applied_at")) if state == "applied" else None,
    )
    if made_at := moment(row.get("created_at")):
        plan.created_at = made_at
    session.add(plan)
    session.flush()
    return plan.id


def _take_changes(
    session: Session,
    source: Source,
    names: Names,
    number: int,
    plan_id: int,
    report: TakeOver,
) -> None:
    tally = report.tally("changes")
    here = set(
        session.scalars(
            select(PlanChange.evidence[CHANGE].astext).where(
                PlanChange.plan_id == plan_id
            )
        )
    )
    found = source.rows("plan_change", "plan_id", number)
    for batch in batched(found, _ROWS_PER_STATEMENT):
        tally.found += len(batch)
        rows: list[dict[str, Any]] = []
        for row in batch:
            item = f"change {row.get('id')} of plan {number}"
            try:
                if str(count(row.get("id"))) in here:
                    tally.known += 1
                else:
                    rows += _change_rows(row, names)
            except NotCarriedOver as error:
                where = f"{item}: {error.where}" if error.where else item
                report.leave_out(error.what, where)
        mirrored = _mirrored(session, {row["scene_id"] for row in rows})
        lost = {
            row["evidence"][CHANGE] for row in rows if row["scene_id"] not in mirrored
        }
        for change in sorted(lost):
            report.leave_out(_NO_SCENE, f"change {change} of plan {number}")
        kept = [row for row in rows if row["scene_id"] in mirrored]
        _add_changes(session, plan_id, kept, report, f"of plan {number}")


def _add_changes(
    session: Session,
    plan_id: int,
    rows: list[dict[str, Any]],
    report: TakeOver,
    plan: str,
) -> None:
    for place, row in enumerate(rows):
        row["place"] = place
    added = set(
        session.scalars(
            _ADD_CHANGES,
            {"plan_id": plan_id, "rows": json.dumps(rows, default=str)},
        )
    )
    states = {row["evidence"][CHANGE]: row["state"] for row in rows}
    for change, state in states.items():
        if change in added:
            report.tally("changes").new += 1
            report.states[state] = report.states.get(state, 0) + 1
        else:
            reason = "The plan has the same change twice"
            report.leave_out(reason, f"change {change} {plan}")


def _change_rows(row: Row, names: Names) -> list[dict[str, Any]]:
    state = state_of(row)
    scene_id = stash_id(row.get("scene_id"))
    if scene_id is None:
        raise NotCarriedOver("The id is none of Stash's")
    applied_at = moment(row.get("applied_at")) if state == "applied" else None
    return [
        {
            "scene_id": scene_id,
            **proposal.row,
            "state": state,
            # Never as an automatic approval: those are applied without being asked.
            "approved_by": BY_USER if state in ("approved", "applied") else None,
            "applied_at": applied_at and applied_at.isoformat(),
        }
        for proposal in proposals(row, names)
    ]


def _names(session: Session) -> Names:
    def of(model: type[Tag] | type[Performer] | type[Studio]) -> dict[str, NamedValue]:
        found: dict[str, NamedValue] = {}
        rows = session.execute(
            select(model.id, model.name, model.aliases)
            .where(model.missing_since.is_(None))
            .order_by(model.id)
        ).all()
        for id_, name, aliases in rows:
            for alias in aliases:
                found.setdefault(name_key(alias), NamedValue(id_, name))
        # Main names go before aliases.
        return found | {name_key(name): NamedValue(id_, name) for id_, name, _ in rows}

    return Names(of(Tag), of(Performer), of(Studio))


def _take_downloads(session: Session, source: Source, report: TakeOver) -> None:
    tally = report.tally("downloads")
    for batch in batched(source.rows("handled_downloads"), _ROWS_PER_STATEMENT):
        tally.found += len(batch)
        rows = list(_download_rows(batch, report))
        parameters = {"source": SOURCE, "rows": json.dumps(rows, default=str)}
        added = len(session.scalars(_ADD_DOWNLOADS, parameters).all())
        tally.new += added
        tally.known += len(rows) - added


def _download_rows(
    batch: Iterable[Row], report: TakeOver
) -> Iterator[Mapping[str, Any]]:
    for place, row in enumerate(batch):
        name, target = (
            words(row.get("download_name")),
            words(row.get("destination_path")),
        )
        if not name or not target:
            item = f"download {row.get('id')}"
            report.leave_out("The download has no name or no path", item)
            continue
        _, is_below, below = target.rpartition(f"/{name}/")
        time = moment(row.get("timestamp"))
        yield {
            "name": name,
            "path": below if is_below else posixpath.basename(target),
            "target": target,
            "time": time and time.isoformat(),
            "place": place,
        }


def _take_syncs(session: Session, source: Source, report: TakeOver) -> None:
    """Take over the history; it never becomes the baseline of a sync here."""
    tally = report.tally("syncs")
    known = set(
        session.scalars(select(SyncRun.run_id).where(SyncRun.trigger == SOURCE))
    )
    for row in source.rows("sync_history"):
        tally.found += 1
        started_at = moment(row.get("started_at"))
        item = f"sync {row.get('id')}"
        if started_at is None:
            report.leave_out("The sync has no valid time", item)
            continue
        run_id = f"{SOURCE} {row.get('id')} {started_at.isoformat()}"
        if run_id in known:
            tally.known += 1
            continue
        try:
            status = sync_state(row)
        except NotCarriedOver as error:
            report.leave_out(error.what, item)
            continue
        synced, created, updated, failed = (
            count(row.get(f"items_{name}"))
            for name in ("synced", "created", "updated", "failed")
        )
        session.add(
            SyncRun(
                kind="imported",
                trigger=SOURCE,
                run_id=run_id,
                status=status,
                message=f"{words(row.get('entity_type'))} sync of the original",
                started_at=started_at,
                finished_at=moment(row.get("completed_at")),
                created=created,
                updated=updated,
                unchanged=max(0, synced - created - updated - failed),
                failed=failed,
            )
        )
        tally.new += 1


def _mirrored(session: Session, scene_ids: Iterable[int]) -> set[int]:
    return set(session.scalars(select(Scene.id).where(Scene.id == any_of(scene_ids))))
