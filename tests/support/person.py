"""A Stash in which StashHog works and a person edits, and what is the person's.

A library is a set of facts: tuples of what it is, where, and the value. The person's
library is what Stash would have if StashHog had never worked.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from sandbox.stash.library import Library
from sandbox.stash.naming import create, update

Fact = tuple[Any, ...]
Key = tuple[Any, ...]

_FACTS = """
SELECT 'scene', id, NULL, NULL, NULL, NULL, NULL FROM scenes
UNION ALL SELECT 'title', id, title, NULL, NULL, NULL, NULL FROM scenes
UNION ALL SELECT 'details', id, details, NULL, NULL, NULL, NULL FROM scenes
UNION ALL SELECT 'studio', id, studio_id, NULL, NULL, NULL, NULL FROM scenes
UNION ALL SELECT 'tags', scene_id, tag_id, NULL, NULL, NULL, NULL FROM scenes_tags
UNION ALL SELECT 'performers', scene_id, performer_id, NULL, NULL, NULL, NULL
    FROM performers_scenes
UNION ALL SELECT 'urls', scene_id, url, NULL, NULL, NULL, NULL FROM scene_urls
UNION ALL SELECT 'markers', scene_id, id, title, seconds, end_seconds, primary_tag_id
    FROM scene_markers
UNION ALL SELECT 'tag', id, name, description, NULL, NULL, NULL FROM tags
UNION ALL SELECT 'performer', id, name, details, NULL, NULL, NULL FROM performers
UNION ALL SELECT 'studio named', id, name, details, NULL, NULL, NULL FROM studios
"""

_TABLES = (
    "scene_markers",
    "scenes_tags",
    "performers_scenes",
    "scene_urls",
    "scene_stash_ids",
    "tag_aliases",
    "performer_stash_ids",
    "scenes",
    "tags",
    "performers",
    "studios",
    "sqlite_sequence",
)

ONE_VALUED = ("title", "details", "studio")
ENTITIES = ("tag", "performer", "studio named")
_USES = {"tags": "tag", "performers": "performer", "studio": "studio named"}


def facts_of(library: Library) -> set[Fact]:
    """Return what a library holds."""
    return set(library.rows(_FACTS))


def key_of(fact: Fact) -> Key:
    """Return what only one fact of a library can be about."""
    return fact[:2] if fact[0] in (*ONE_VALUED, *ENTITIES) else fact[:3]


def entities_of(fact: Fact) -> set[Key]:
    """Return the keys of the tag, performer or studio that a fact uses."""
    if fact[0] == "markers":
        return {("tag", fact[6])}
    return {(_USES[fact[0]], fact[2])} if fact[0] in _USES and fact[2] else set()


def begin_again(library: Library, scenes: int) -> None:
    """Leave so many scenes without anything, and some names: ids begin with 1."""
    with library.transaction() as writer:
        for table in _TABLES:
            writer.run(f"DELETE FROM {table}")  # noqa: S608 - ours
        for number in range(1, scenes + 1):
            stamps = {"created_at": writer.now, "updated_at": writer.now}
            writer.insert("scenes", {"title": f"Scene {number}", **stamps})
    for kind, name in (
        ("tag", "Mine"),
        ("tag", "Old"),
        ("tag", "Outdoor"),
        ("performer", "Jade Kush"),
        ("studio", "Golden Hour"),
        ("studio", "Silver Lake"),
    ):
        create(library, kind, {"name": name})
    update(library, "tag", {"id": "3", "aliases": ["Open Air"]})


@dataclass
class Person:
    """The person who edits a library.

    Attributes:
        facts: The person's library.
        touched: What the person has changed since StashHog last did.
        covered: What StashHog has replaced that the person had changed; an undo may
            bring that back.
    """

    library: Library
    facts: set[Fact] = field(default_factory=set)
    touched: set[Key] = field(default_factory=set)
    covered: set[Key] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.facts = facts_of(self.library)

    def edit(self, change: Callable[[], object]) -> None:
        """Change the library; what comes of it is the person's."""
        before = facts_of(self.library)
        change()
        after = facts_of(self.library)
        for fact in before - after:
            self.facts.discard(fact)
            self.touched.add(key_of(fact))
            if fact[0] == "scene":
                self._forget(lambda f, of=fact[1]: f[1] == of and f[0] not in ENTITIES)
            elif fact[0] in ENTITIES and key_of(fact) not in map(key_of, after):
                entity = key_of(fact)
                self._forget(lambda f, of=entity: of in entities_of(f))
                self._clear_studio(fact)
        for fact in after - before:
            self.facts = {f for f in self.facts if key_of(f) != key_of(fact)} | {fact}
            self.touched.add(key_of(fact))

    def _forget(self, is_gone: Callable[[Fact], bool]) -> None:
        self.facts = {fact for fact in self.facts if not is_gone(fact)}

    def _clear_studio(self, gone: Fact) -> None:
        """Leave no scene without a fact of its studio."""
        if gone[0] == "studio named":
            scenes = {f[1] for f in self.facts if f[0] == "scene"}
            have = {f[1] for f in self.facts if f[0] == "studio"}
            self.facts |= {("studio", s, *[None] * 5) for s in scenes - have}

    def owns(self, entity: Key) -> bool:
        """Tell whether a tag, performer or studio is the person's, or used by them."""
        return entity in map(key_of, self.facts) or entity in used(self.facts)


def used(facts: Iterable[Fact]) -> set[Key]:
    """Return the keys of what facts use."""
    return {entity for fact in facts for entity in entities_of(fact)}
