"""Stash's tags while a plan is applied; creates the ones that a change needs."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from stashhog_core.errors import (
    BusyError,
    ItemError,
    JobError,
    RefusedError,
    TransientError,
)
from stashhog_core.plans.proposals import member_key
from stashhog_core.stash.payloads import StashTag


class TagStore(Protocol):
    """The part of Stash that keeps tags."""

    def tags(self) -> list[StashTag]:
        """Return all tags."""

    def find_tag(self, name: str) -> StashTag | None:
        """Return the tag of this name or alias, whatever its case."""

    def create_tag(self, name: str) -> StashTag:
        """Create a tag; JobError if the name is taken."""


class LiveTags:
    """Finds and creates tags.

    Args:
        stash: Where they are.
        create_missing: Whether tags may be created.
        before_creating: Called with the name before one is created.
        after_creating: Called with the new tag.
        not_created: Called with the name when the tag turned out to be another's.
    """

    def __init__(
        self,
        stash: TagStore,
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
        self._ids: set[int] | None = None
        self._by_name: dict[str, int] = {}
        self._failed: dict[str, ItemError] = {}

    def find(self, member: Mapping[str, Any]) -> int | None:
        """Return the id of a proposed tag (`{"id", "name"}`); None: Stash has it not.

        Names and aliases count: a tag merged into another becomes its alias.
        """
        if self._ids is None:
            tags = self._stash.tags()
            self._ids = {tag.id for tag in tags}
            for tag in tags:
                for alias in tag.aliases:
                    self._by_name.setdefault(member_key(alias), tag.id)
            # Main names go before aliases.
            self._by_name.update({member_key(tag.name): tag.id for tag in tags})
        if member["id"] in self._ids:
            return int(member["id"])
        return self._by_name.get(member_key(member["name"]))

    def ensure(self, member: Mapping[str, Any]) -> int:
        """Return the id of a proposed tag, which is created if need be.

        Raises:
            ItemError: It is missing and must not be created, or Stash did not create
                it; then what Stash said is the cause. Asked for again, it is not tried
                again until `forget_failures` is called.
            TransientError: Stash cannot be read.
        """
        found = self.find(member)
        if found is not None:
            return found
        name = str(member["name"]).strip()
        if not self._create_missing:
            raise ItemError(
                f"Stash has no tag {name!r}",
                remedy="create it there, or set "
                "STASHHOG_ANALYSIS__CREATE_MISSING_TAGS=true",
            )
        if failure := self._failed.get(member_key(name)):
            raise failure
        tag = self._stash.find_tag(name) or self._created(name)
        self._by_name[member_key(name)] = tag.id
        self._by_name.setdefault(member_key(tag.name), tag.id)
        if self._ids is not None:
            self._ids.add(tag.id)
        return tag.id

    def forget_failures(self) -> None:
        """Have tags that could not be created tried again."""
        self._failed.clear()

    def _created(self, name: str) -> StashTag:
        self._before_creating(name)
        try:
            tag = self._stash.create_tag(name)
        except (JobError, TransientError) as error:
            # Another run may have been faster; or it is ours, and only the answer was
            # lost. Just before, there was none of this name.
            existing = self._stash.find_tag(name)
            is_over = isinstance(error, RefusedError | BusyError)
            if existing is not None and not _is_taken(error, existing, name):
                self._after_creating(existing)
            elif existing is not None or is_over:
                self._not_created(name)
            if existing is None:
                failure = ItemError(f"Stash did not create the tag {name!r}: {error}")
                self._failed[member_key(name)] = failure
                raise failure from error
            return existing
        self._after_creating(tag)
        return tag


def _is_taken(error: Exception, existing: StashTag, name: str) -> bool:
    """Tell whether a tag that Stash did not say yes to is somebody else's."""
    return member_key(existing.name) != member_key(name) or any(
        words in str(error) for words in ("already exists", "used as alias")
    )
