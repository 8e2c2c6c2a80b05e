"""All names that Stash knows, ready to be found; kept until one of them changes."""

import threading
from collections.abc import Iterator

from sqlalchemy import text
from sqlalchemy.orm import Session

from stashhog_core.detection.name_finder import Kind, KnownName, NameFinder

_TABLES: tuple[tuple[str, Kind, str], ...] = (
    ("performer", "performers", "disambiguation"),
    ("studio", "studio", "''"),
    ("tag", "tags", "''"),
)
# Which names there are, in one number per table: far cheaper than reading them.
_STAMP = " UNION ALL ".join(
    f"SELECT count(*), coalesce(sum(hashtextextended(id || ':' || name || ':' || "  # noqa: S608 - names from the constant above
    f"aliases::text || ':' || {disambiguation}, 0)::numeric), 0)::text FROM {table} "
    "WHERE missing_since IS NULL AND NOT ignore_auto_tag"
    for table, _, disambiguation in _TABLES
)

_lock = threading.Lock()
_kept: dict[str, tuple[object, NameFinder]] = {}


def known_names(session: Session) -> NameFinder:
    """Return a finder of all names and aliases in the mirror.

    Left out are those that are missing in Stash or that the user keeps from automatic
    tagging (Stash's `ignore_auto_tag`). The finder of a database is built once and
    shared by all threads until a name changes.
    """
    database = str(session.get_bind().engine.url)
    stamp = [tuple(row) for row in session.execute(text(_STAMP))]
    with _lock:
        kept = _kept.get(database)
        if kept is None or kept[0] != stamp:
            kept = (stamp, NameFinder(_names(session)))
            _kept[database] = kept
        return kept[1]


def _names(session: Session) -> Iterator[KnownName]:
    for table, kind, disambiguation in _TABLES:
        rows = session.execute(
            text(
                f"SELECT id, name, aliases, {disambiguation} FROM {table} "  # noqa: S608 - a constant
                "WHERE missing_since IS NULL AND NOT ignore_auto_tag ORDER BY id"
            )
        )
        for identity, name, aliases, more in rows:
            yield KnownName(kind, identity, name, name)
            if more:
                # It tells two people of one name apart: `Jade Kush (II)`.
                yield KnownName(kind, identity, name, f"{name} {more}")
            for alias in aliases:
                yield KnownName(kind, identity, name, alias)
