"""What changing scenes needs of a Stash server."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from stashhog_core.stash.payloads import Scene


class SceneEditor(Protocol):
    """Reads scenes and changes them; `StashClient` is one."""

    def scenes(self, ids: Sequence[int]) -> tuple[list[Scene], list[int]]:
        """Return the scenes, and the ids that Stash lacks."""

    def bulk_update_scenes(
        self,
        ids: Sequence[int],
        *,
        add_tag_ids: Sequence[int] = (),
        remove_tag_ids: Sequence[int] = (),
        add_performer_ids: Sequence[int] = (),
        remove_performer_ids: Sequence[int] = (),
        studio_id: int | None = None,
    ) -> None:
        """Change sets and the studio of many scenes, all or none."""

    def update_scene(self, scene_id: int, fields: Mapping[str, Any]) -> None:
        """Set texts of a scene."""
