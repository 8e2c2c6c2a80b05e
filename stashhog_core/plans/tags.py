"""Tags of Stash while a plan is applied."""

from collections.abc import Callable

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
from stashhog_core.stash.payloads import StashTag

CREATED_TAGS = Creations("created_tags")
"""Name → id; None: a run was about to create the tag."""


class LiveTags:
    """Finds tags in Stash, and creates the tags that changes need.

    Args:
        stash: The server.
        create_missing: Whether tags may be created.
        before_creating: Called with the name before a tag is created.
        after_creating: Called with the new tag.
        not_created: Called with the name if somebody else created the tag, or nobody.
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
        self._ids: set[int] | None = None
        self._by_name: dict[str, int] = {}
        self._failed: dict[str, ItemError] = {}

    def find(self, tag: NamedValue) -> int | None:
        """Return the id of a proposed tag; None: Stash does not have the tag.

        The tag is found by its id, name or alias: Stash makes the name of a merged tag
        an alias of the other one.
        """
        if self._ids is None:
            tags = self._stash.tags()
            self._ids = {tag.id for tag in tags}
            for each in tags:
                for alias in each.aliases:
                    self._by_name.setdefault(name_key(alias), each.id)
            # Main names go before aliases.
            self._by_name.update({name_key(each.name): each.id for each in tags})
        if tag.id in self._ids:
            return tag.id
        return self._by_name.get(tag.key)

    def ensure(self, tag: NamedValue) -> int:
        """Return the id of a proposed tag, which is created if Stash lacks it.

        Raises:
            ItemError: The tag is missing and must not be created, or Stash did not
                create it; then the error from Stash is the cause. Further calls for the
                tag fail at once until `forget_failures` is called.
            TransientError: Stash cannot be read.
        """
        found = self.find(tag)
        if found is not None:
            return found
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
        self._by_name[name_key(name)] = existing.id
        self._by_name.setdefault(name_key(existing.name), existing.id)
        if self._ids is not None:
            self._ids.add(existing.id)
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
