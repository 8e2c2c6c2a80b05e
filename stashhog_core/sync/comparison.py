"""Comparing Stash with the mirror, at a cost that grows with what has changed.

There is one path: a glance shows that nothing has changed; else the rows that were
changed are listed, and the numbers of rows prove that these are all; else everything is
listed. No transaction is open while Stash is asked.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from stashhog_core.db.kept_glance import keep_glance, kept_glance
from stashhog_core.db.session import Database
from stashhog_core.errors import RefusedError, UnreadableError
from stashhog_core.settings import SyncSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.payloads import Glance, LibraryChanges
from stashhog_core.sync.changes import Changes, find_changes
from stashhog_core.sync.differences import Differences
from stashhog_core.sync.full import WholeLibrary, whole_library
from stashhog_core.sync.glance import (
    KeptGlance,
    reason_to_list,
    shows_no_change,
    why_unusable,
)
from stashhog_core.sync.survey import begin_survey

log = logging.getLogger(__name__)

Uptime = Callable[[], float]
"""Our own clock, in seconds since any moment. Nobody sets it."""


@dataclass(frozen=True)
class ListingRule:
    """When everything is listed though nothing asks for it.

    Attributes:
        interval: After so long, by Stash's clock.
        uptime: What Stash's clock is compared with.
    """

    interval: timedelta = timedelta(hours=1)
    uptime: Uptime = time.monotonic


HOURLY = ListingRule()


def listing_rule(settings: SyncSettings) -> ListingRule:
    """Return the rule that the settings state."""
    return ListingRule(timedelta(minutes=settings.listing_interval_minutes))


class Comparison:
    """A comparison that begins: what was known before it, and a new glance.

    The glance is taken before anything is listed, so that a change during the listing
    shows in the next glance.

    Args:
        stash: The Stash server.
        database: The mirror.
        rule: When everything is listed.
    """

    def __init__(
        self, stash: StashClient, database: Database, rule: ListingRule
    ) -> None:
        self._stash = stash
        self._database = database
        self._interval = rule.interval
        with database.transaction() as session:
            self._revision, facts, self._to_fetch = kept_glance(session)
        self._kept = KeptGlance.from_facts(facts) if facts else None
        self._glance = self._usable_glance()
        self._uptime_seconds = rule.uptime()

    @contextmanager
    def differences(
        self, *, lists: bool = False, removes: bool = False
    ) -> Iterator[Differences]:
        """Compare; return what differs.

        Args:
            lists: List everything, whatever the glance shows.
            removes: Rows that wait to be removed are wanted, too.
        """
        changes = None if lists else self._changes(removes=removes)
        if changes is not None:
            yield changes
            return
        with begin_survey(self._stash, self._database) as survey:
            yield survey

    def full(self) -> WholeLibrary:
        """Compare all but scenes, each of which will be fetched."""
        return whole_library(self._stash, self._database)

    def keep(self, found: Differences) -> None:
        """Note that the mirror has all that the glance shows.

        Unless something else has changed the mirror meanwhile that wants a listing.

        Args:
            found: What was compared; what it found to differ is stored by now.
        """
        glance = self._glance
        if glance is None or glance.clock is None:
            return
        if found.total < glance.kinds["scene"].total:
            log.debug("Stash has listed fewer scenes than it counts")
            return
        listed_at, has_missing = glance.clock, found.has_missing
        if not found.lists_everything:
            if self._kept is None:
                raise RuntimeError("changes were found without a glance that is kept")
            listed_at, has_missing = self._kept.listed_at, self._kept.has_missing
        kept = KeptGlance(
            kinds=glance.kinds,
            clock=glance.clock,
            uptime_seconds=self._uptime_seconds,
            log_time=glance.log_times[0],
            listed_at=listed_at,
            has_missing=has_missing,
        )
        with self._database.transaction() as session:
            keep_glance(session, self._revision, kept.facts())

    def _usable_glance(self) -> Glance | None:
        try:
            glance = self._stash.glance()
        except (RefusedError, UnreadableError) as error:
            # If Stash has nothing else to say either, the listing fails as well.
            log.info("%s; StashHog lists the whole library instead", error)
            return None
        if why := why_unusable(glance):
            log.debug("A glance does not do, because %s", why)
            return None
        return glance

    def _changes(self, *, removes: bool) -> Changes | None:
        """Return what differs; None: only a listing of everything shows it."""
        kept, glance = self._kept, self._glance
        if kept is None or glance is None or (removes and kept.has_missing):
            return None
        why = reason_to_list(kept, glance, self._uptime_seconds, self._interval)
        if why is None:
            if shows_no_change(kept, glance) and not self._to_fetch:
                return Changes(glance, _NOTHING)
            changes = find_changes(
                self._stash, self._database, kept, glance, self._to_fetch
            )
            if changes is not None:
                return changes
            why = "the changed rows do not explain the numbers of rows"
        log.debug("StashHog lists the whole library, because %s", why)
        return None


_NOTHING = LibraryChanges(
    pages=iter(()),
    marker_pages=iter(()),
    tags=(),
    performers=(),
    studios=(),
    files=(),
    folders=None,
    children=(),
    file_ids=(),
)
