"""The settings of the Stash server and of its jobs."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)


def _address(text: str) -> str:
    """Return an address that every client can take apart and look up."""
    try:
        parts = urlsplit(text)
        # A port that is no number or too large raises; so does a host that no name
        # service knows how to spell.
        is_one = parts.port != 0 and bool((parts.hostname or "").encode("idna"))
    except ValueError:
        is_one = False
    if not (is_one and _ADDRESS.match(text) and text.isprintable()):
        raise ValueError("write the address like http://localhost:9999")
    return text


_ADDRESS = re.compile(r"^https?://[^/\s]+(/.*)?$")
Address = Annotated[str, AfterValidator(_address)]
"""An address of a service: scheme, host, perhaps a port and a path."""


def _key(secret: SecretStr) -> SecretStr:
    """Return a key as a header can carry it.

    A file that holds a key ends with a newline; whoever passes the file on as a setting
    passes on the newline.
    """
    key = secret.get_secret_value().strip()
    if not (key.isascii() and (key.isprintable() or not key)):
        # Without the key in the sentence.
        raise ValueError(
            "the key contains characters that a key cannot have, such as a line break"
        )
    return SecretStr(key)


def _password(secret: SecretStr) -> SecretStr:
    # Blanks may belong to a password; a newline at its end is that of a file.
    return SecretStr(secret.get_secret_value().rstrip("\r\n"))


Key = Annotated[SecretStr, AfterValidator(_key)]
Password = Annotated[SecretStr, AfterValidator(_password)]


class Section(BaseModel):
    """Settings of one service or subject."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _empty_is_not_set(cls, values: Any) -> Any:
        return without_empty(cls, values) if isinstance(values, dict) else values


def without_empty(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is set to nothing, as `NAME=` does, but for texts.

    A path would be the current folder, and a number none.
    """
    fields = model.model_fields
    return {
        name: value
        for name, value in values.items()
        if value != "" or (name in fields and fields[name].annotation is str)
    }


class StashServer(BaseModel):
    """An additional Stash server, for jobs that name it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Address
    api_key: Key | None = None


class StashSettings(Section):
    """The Stash server."""

    url: Address | None = None
    """Address of the Stash server, such as http://localhost:9999."""

    public_url: Address | None = None
    """Address at which your browser reaches Stash, used for links. If empty, links use
    the address of `url`."""

    api_key: Key | None = None
    """API key of Stash. Leave the key empty if Stash needs no login."""

    ca_file: Path | None = None
    """PEM file of additional certificates to trust when StashHog connects to Stash."""

    timeout_seconds: float = Field(default=60, gt=0)
    """Maximum time to wait for one answer of Stash, in seconds."""

    scan_paths: tuple[str, ...] = Field(default=("/data",), min_length=1)
    """Folders that Stash scans, as Stash names them (JSON list)."""

    path_map: dict[str, str] = Field(default_factory=dict)
    """Path prefixes of Stash and the local folders that they stand for (JSON object),
    such as {"/data": "/mnt/videos"}."""

    poll_interval_seconds: float = Field(default=2, gt=0)
    """Time between two checks of a running Stash job, in seconds."""

    websocket: bool = True
    """Subscribe to Stash's job events over a WebSocket, so that the end of a job is
    noticed at once. Polling continues as a fallback."""

    outage_limit_seconds: float = Field(default=600, ge=0)
    """How long Stash may be unreachable during a Stash job, in seconds. After that, the
    run stops waiting and fails."""

    job_deadline_seconds: float | None = Field(default=None, gt=0)
    """Maximum time to wait for a Stash job, in seconds. After that, the run stops the
    job, but leaves a scan running. If empty, the run waits without a limit."""

    clean_dry_run: bool = True
    """Whether stash_clean only lists the files that are gone from the disk. If off, a
    run has Stash remove the files, with the scenes that lose their last file."""

    backup_timeout_seconds: float = Field(default=900, gt=0)
    """Maximum time to wait for a backup of Stash's database, in seconds."""

    backup_before_changes: int | None = Field(default=None, ge=0)
    """Number of approved changes above which StashHog has Stash back up its database
    before the changes of a plan are applied. If empty, no backup is made: an undo
    restores what a plan changed, and nobody deletes old backups."""

    verify: Literal["none", "sample", "all"] = "sample"
    """Which scenes of a generate run are checked for their media before the scenes are
    marked as generated: none, sample or all. If a scene of the sample lacks media, all
    scenes of the run are checked."""

    verify_sample_size: int = Field(default=200, ge=1)
    """Number of scenes in the sample that is checked."""

    all_or_nothing: bool = False
    """Mark the scenes of a generate run only if none of them lacks media. If off, each
    complete scene is marked, and StashHog remembers which media Stash cannot make of a
    file and does not ask for that media again."""

    probes_at_a_time: int = Field(default=8, ge=1, le=64)
    """Number of media checks that run in parallel (1 to 64)."""

    generate_profiles: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Your own named parameter sets for stash_generate, in addition to quick and full
    (JSON object), such as {"hashes": {"previews": false}}."""

    servers: dict[str, StashServer] = Field(default_factory=dict)
    """Additional Stash servers by name, for jobs that have the parameter `server` (JSON
    object), such as {"attic": {"url": "http://attic:9999", "api_key": "…"}}."""

    @property
    def link_base(self) -> str | None:
        """What the addresses of Stash's pages begin with; no credentials."""
        address = self.public_url or self.url
        if address is None:
            return None
        parts = urlsplit(address)
        host = parts.netloc.rpartition("@")[2]
        path = parts.path.rstrip("/").removesuffix("/graphql")
        return urlunsplit((parts.scheme, host, path, "", ""))
