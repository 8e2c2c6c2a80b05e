"""What Stash passes on of a stash-box, typed."""

from typing import Annotated

from stashhog_core.stash.payloads import Payload, since


class RemoteName(Payload, frozen=True, kw_only=True):
    """A studio of a stash-box, and what tags and performers share with it."""

    name: str | None = None
    remote_site_id: str | None = None


class RemoteTag(RemoteName, frozen=True, kw_only=True):
    """A tag of a stash-box."""

    remote_site_id: Annotated[
        str | None, since("ScrapedTag.remote_site_id", "0.30")
    ] = None


class RemotePerformer(RemoteName, frozen=True, kw_only=True):
    """A performer of a stash-box."""

    disambiguation: str | None = None


class RemoteFingerprint(Payload, frozen=True, kw_only=True):
    """A hash that a stash-box has of a scene, with its video's duration in seconds."""

    algorithm: str
    hash: str
    duration: int


class RemoteScene(Payload, frozen=True, kw_only=True):
    """A scene of a stash-box. Stash does not say which of the hashes has matched."""

    title: str | None = None
    code: str | None = None
    details: str | None = None
    director: str | None = None
    urls: tuple[str, ...] | None = None
    date: str | None = None
    duration: int | None = None
    remote_site_id: str | None = None
    fingerprints: tuple[RemoteFingerprint, ...] | None = None
    studio: RemoteName | None = None
    tags: tuple[RemoteTag, ...] | None = None
    performers: tuple[RemotePerformer, ...] | None = None


class RemoteSceneWithCover(RemoteScene, frozen=True, kw_only=True):
    """A scene of a stash-box with its first picture, as a data URL of any type."""

    image: str | None = None
