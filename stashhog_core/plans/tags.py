"""Tags, performers and studios of Stash while a plan is applied."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime

from stashhog_core.errors import (
    BusyError,
    ItemError,
    JobError,
    RefusedError,
    TransientError,
)
from stashhog_core.plans.created import Creations
from stashhog_core.plans.proposals import NamedValue, name_key
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.documents import NamedKind
from stashhog_core.stash.payloads import KnownObject, StashTag
from stashhog_core.stash.times import is_moment, parse_stash_time

CREATED_TAGS = Creations("created_tags")
"""Name → id; None: a run was about to create the tag."""


class KnownObjects:
    """The tags, performers and studios that Stash has; each kind is listed once.

    Args:
        stash: The server.
    """

    def __init__(self, stash: StashClient) -> None:
        self._stash = stash
        self._listed: dict[NamedKind, _Listed] = {}

    def find(
        self, kind: NamedKind, value: NamedValue, created_at: datetime | None
    ) -> int | None:
        """Return the id of a proposed value; None: Stash does not have it.

        A Stash that was set up anew, or whose database was restored from a backup,
        gives ids again. So an id counts if what has it was created when the proposed
        one was, under whatever name. Otherwise, the name counts, or an alias: Stash
        makes the name of a merged tag an alias of the other one.

        Args:
            kind: What it is.
            value: The proposed value.
            created_at: When Stash created it; None: not known. Then the name goes
                before the id.

        Raises:
            ItemError: Several have the name: a person has to look.
        """
        listed = self._listing(kind)
        is_there = value.id in listed.created_at
        is_known = is_there and created_at is not None
        if is_known and not self.is_another(kind, value.id, created_at):
            return value.id
        ids = listed.names.get(value.key) or listed.aliases.get(value.key, set())
        if value.id in ids:
            return value.id
        if not ids:
            return value.id if is_there and not is_known else None
        if len(ids) > 1:
            raise ItemError(
                f"Stash has {len(ids)} {kind}s called {value.name!r}",
                remedy="merge or rename them in Stash, or reject the change",
            )
        return next(iter(ids))

    def created_at(self, kind: NamedKind, id_: int | None) -> datetime | None:
        """Return when Stash created something; None: not known.

        Nothing is asked for: it is known of what was found or added.
        """
        listed = self._listed.get(kind)
        text = listed.created_at.get(id_) if listed else None
        return None if text is None else parse_stash_time(text)

    def is_another(
        self, kind: NamedKind, id_: int | None, created_at: datetime | None
    ) -> bool:
        """Tell whether Stash created what has this id at another time."""
        text = self._listing(kind).created_at.get(id_, "")
        return not is_moment(text, created_at)

    def add(self, name: str, tag: StashTag) -> None:
        """Note that a tag has this name by now, which is its own or an alias."""
        listed = self._listing("tag")
        listed.created_at[tag.id] = tag.created_at
        listed.names[name_key(name)] = {tag.id}

    def _listing(self, kind: NamedKind) -> "_Listed":
        if kind not in self._listed:
            self._listed[kind] = _Listed(self._stash.list_objects(kind))
        return self._listed[kind]


class _Listed:
    """One kind: id → when Stash created it, and who has a name or an alias."""

    def __init__(self, rows: Iterable[KnownObject]) -> None:
        self.created_at: dict[int | None, str] = {}
        self.names: dict[str, set[int]] = defaultdict(set)
        self.aliases: dict[str, set[int]] = defaultdict(set)
        for row in rows:
            self.created_at[row.id] = row.created_at
            self.names[name_key(row.name)].add(row.id)
            for alias in row.aliases:
                self.aliases[name_key(alias)].add(row.id)


class LiveTags:
    """Creates the tags that changes need and Stash lacks.

    Args:
        stash: The server.
        create_missing: Whether tags may be created.
        before_creating: Called with the name before a tag is created.
        after_creating: Called with the new tag.
        not_created: Called with the name if somebody else created the tag, or nobody.

    Attributes:
        known: What Stash has.
    """

    def __init__(
        self,
        stash: StashClient,
        create_missing: bool,
        before_creating: Callable[[str], None],
        after_creating: Callable[[StashTag], None],
        not_created: Callable[[str], None],
    ) -> None:
        self._stash = stash
        self._create_missing = create_missing
        self._before_creating = before_creating
        self._after_creating = after_creating
        self._not_created = not_created
        self.known = KnownObjects(stash)
        self._failed: dict[str, ItemError] = {}

    def ensure(self, tag: NamedValue) -> int:
        """Return the id of a proposed tag that Stash lacks: the tag is created.

        Raises:
            ItemError: The tag is missing and must not be created, or Stash did not
                create it; then the error from Stash is the cause. Further calls for the
                tag fail at once until `forget_failures` is called.
            TransientError: Stash cannot be read.
        """
        name = tag.name.strip()
        if not self._create_missing:
            raise ItemError(
                f"Stash has no tag {name!r}",
                remedy="create the tag in Stash, or set "
                "STASHHOG_ANALYSIS__CREATE_MISSING_TAGS=true",
            )
        if failure := self._failed.get(name_key(name)):
            raise failure
        existing = self._stash.find_tag(name) or self._created(name)
        for called in (name, existing.name):
            self.known.add(called, existing)
        return existing.id

    def forget_failures(self) -> None:
        """Let tags that could not be created be tried again."""
        self._failed.clear()

    def _created(self, name: str) -> StashTag:
        self._before_creating(name)
        try:
            tag = self._stash.create_tag(name)
        except (JobError, TransientError) as error:
            # Another run may have been faster. Or the tag is ours and only the response
            # was lost: just before, no tag had this name.
            existing = self._stash.find_tag(name)
            is_over = isinstance(error, RefusedError | BusyError)
            if existing is not None and not _is_taken(error, existing, name):
                self._after_creating(existing)
            elif existing is not None or is_over:
                self._not_created(name)
            if existing is None:
                failure = ItemError(
                    f"Stash did not create the tag {name!r}: {error}",
                    remedy="create the tag in Stash, or reject the change",
                )
                self._failed[name_key(name)] = failure
                raise failure from error
            return existing
        self._after_creating(tag)
        return tag


def _is_taken(error: Exception, existing: StashTag, name: str) -> bool:
    """Tell whether a tag whose creation Stash did not confirm is somebody else's."""
    return name_key(existing.name) != name_key(name) or any(
        words in str(error) for words in ("already exists", "used as alias")
    )
