"""The covers that Stash has now, and those that are stored to be set or restored."""

from stashhog_core.db.pictures import picture_key, store_pictures, stored_picture
from stashhog_core.db.session import Database
from stashhog_core.media.covers import as_data_url
from stashhog_core.stash.client import StashClient


class LiveCovers:
    """Reads and sets the covers of scenes.

    Args:
        stash: The server.
        database: Where pictures are stored.
    """

    def __init__(self, stash: StashClient, database: Database) -> None:
        self._stash = stash
        self._database = database

    def now(self, scene_id: int) -> str | None:
        """Return the key of a scene's cover in Stash; None: the scene has none."""
        content = self._stash.cover(scene_id)
        return None if content is None else picture_key(content)

    def keep(self, scene_id: int) -> str | None:
        """Store a scene's cover, so that it can be restored; return its key."""
        content = self._stash.cover(scene_id)
        if content is None:
            return None
        with self._database.transaction() as session:
            store_pictures(session, [content])
        return picture_key(content)

    def is_stored(self, key: str) -> bool:
        """Tell whether a picture is stored here."""
        return self._content(key) is not None

    def set(self, scene_id: int, key: str) -> None:
        """Make a stored picture the cover of a scene.

        Raises:
            RuntimeError: It is not stored.
        """
        content = self._content(key)
        if content is None:
            raise RuntimeError(f"the picture {key} is not stored")
        self._stash.set_cover(scene_id, as_data_url(content))

    def _content(self, key: str) -> bytes | None:
        with self._database.transaction() as session:
            return stored_picture(session, key)
