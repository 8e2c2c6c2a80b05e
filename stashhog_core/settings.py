"""The product's settings, read once from the environment and `.env`.

Every setting is an environment variable `STASHHOG_<SECTION>__<NAME>`; each stands with
its meaning and default in `deployments/env.example`.
"""

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from stashhog_core.errors import ConfigurationError

PREFIX = "STASHHOG_"
ENV_FILE = ".env"
TEST_PREFIX = "STASHHOG_TEST_"
"""Variables of the test suite; no settings of the product."""

PlacePolicy = Literal["hardlink", "hardlink_or_copy", "reflink", "copy"]


class Section(BaseModel):
    """Settings of one service or subject."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StashSettings(Section):
    """The Stash server."""

    url: str | None = Field(
        default=None,
        description="Address of the Stash server, such as http://localhost:9999.",
        pattern=r"^https?://[^/\s]+(/.*)?$",
    )
    api_key: SecretStr | None = Field(
        default=None, description="Stash's API key; none if Stash asks for none."
    )
    timeout_seconds: float = Field(
        default=60, gt=0, description="Longest wait for one answer of Stash."
    )
    scan_paths: tuple[str, ...] = Field(
        default=("/data",),
        min_length=1,
        description="Folders Stash scans, as Stash names them (JSON list).",
    )
    path_map: dict[str, str] = Field(
        default_factory=dict,
        description="Stash's path prefix to the local one (JSON object).",
    )
    poll_interval_seconds: float = Field(
        default=2, gt=0, description="Time between looks at a running Stash job."
    )
    outage_limit_seconds: float = Field(
        default=600,
        ge=0,
        description="How long Stash may be away before waiting for its job is given "
        "up.",
    )


class DatabaseSettings(Section):
    """PostgreSQL."""

    url: SecretStr | None = Field(
        default=None,
        description="postgresql://user:password@host/name; none: an embedded server.",
    )


class DownloadSettings(Section):
    """Where finished downloads come from and where they go."""

    source: Literal["qbittorrent", "folder"] = Field(
        default="folder", description="Who says what is finished."
    )
    folder: Path | None = Field(
        default=None, description="Watch folder, for the source `folder`."
    )
    library_root: Path | None = Field(
        default=None, description="Library folder that downloads are placed in."
    )
    category: str = Field(
        default="stash", description="qBittorrent category to take; empty: any."
    )
    path_map: dict[str, str] = Field(
        default_factory=dict,
        description="qBittorrent's path prefix to the local one (JSON object).",
    )
    place: PlacePolicy = Field(
        default="hardlink_or_copy", description="How a file gets into the library."
    )
    settle_seconds: float = Field(
        default=5,
        ge=0,
        description="A watched file counts as finished when size and time did not "
        "change for so long.",
    )
    max_tries: int = Field(
        default=8, ge=1, description="Tries for a failing file before it is blocked."
    )
    reserve_bytes: int = Field(
        default=500_000_000,
        ge=0,
        description="Space that copying into the library leaves free.",
    )


class QBittorrentSettings(Section):
    """The qBittorrent Web API."""

    url: str = Field(
        default="http://localhost:8080", description="Address of qBittorrent's Web UI."
    )
    username: str = Field(default="admin", description="Web UI user.")
    password: SecretStr = Field(default=SecretStr(""), description="Web UI password.")
    timeout_seconds: float = Field(
        default=30, gt=0, description="Longest wait for one answer of qBittorrent."
    )


class AiServerSettings(Section):
    """The AI tagging server."""

    url: str | None = Field(
        default=None,
        description="Address of the AI server; none: title cards are read instead.",
    )
    timeout_seconds: float = Field(
        default=3700, gt=0, description="Longest wait for one video."
    )
    frame_interval_seconds: float = Field(
        default=2, gt=0, description="Time between the frames that are judged."
    )
    threshold: float = Field(
        default=0.3, gt=0, le=1, description="Least confidence of a tag."
    )


class LibrarySettings(Section):
    """The directory scan."""

    allowed_scan_roots: tuple[Path, ...] = Field(
        default=(), description="Folders that may be scanned (JSON list); none: none."
    )


class AnalysisSettings(Section):
    """Batches and thresholds of the analysis."""

    batch_size: int = Field(
        default=100, ge=1, le=1000, description="Scenes per analysis batch."
    )
    parallel_batches: int = Field(
        default=2, ge=1, le=32, description="Batches that run at a time."
    )
    confidence_threshold: float = Field(
        default=0.7, ge=0, le=1, description="Changes below it are not proposed."
    )
    create_missing_tags: bool = Field(
        default=True,
        description="Create tags that Stash lacks when a change needs them.",
    )
    technical_tags: dict[str, str] = Field(
        default_factory=dict,
        description="Your names for the technical tags 480p, 720p, 1080p, 1440p, 4k, "
        "8k, portrait, square, 60fps, short, long, silent (JSON object); an empty "
        "name: never proposed.",
    )


class Settings(BaseSettings):
    """All settings. Read them with `get_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_file=ENV_FILE,
        extra="ignore",
        frozen=True,
    )

    home: Path = Field(
        default=Path("~/.stashhog"),
        description="Folder for the embedded database, results and logs.",
    )
    stash: StashSettings = StashSettings()
    database: DatabaseSettings = DatabaseSettings()
    downloads: DownloadSettings = DownloadSettings()
    qbittorrent: QBittorrentSettings = QBittorrentSettings()
    ai_server: AiServerSettings = AiServerSettings()
    library: LibrarySettings = LibrarySettings()
    analysis: AnalysisSettings = AnalysisSettings()

    @property
    def home_folder(self) -> Path:
        """`home` with `~` resolved."""
        return self.home.expanduser().resolve()


@cache
def get_settings() -> Settings:
    """Return the settings, read on the first call.

    Raises:
        ConfigurationError: A variable is unknown, or its value is not allowed.
    """
    return load_settings(configured_variables())


def configured_variables() -> dict[str, str]:
    """Return the `STASHHOG_` variables of `.env` and the environment, upper case."""
    from_file = {name: value or "" for name, value in dotenv_values(ENV_FILE).items()}
    return {
        name.upper(): value
        for name, value in {**from_file, **os.environ}.items()
        if name.upper().startswith(PREFIX) and not name.upper().startswith(TEST_PREFIX)
    }


def load_settings(variables: Mapping[str, str]) -> Settings:
    """Check the names of `variables`, then read the settings."""
    known = dict(setting_variables())
    for name in variables:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            raise ConfigurationError(
                f"The setting {name} does not exist",
                remedy=f"did you mean {nearest[0]}?"
                if nearest
                else "see deployments/env.example for all settings",
            )
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + "__".join(str(part).upper() for part in first["loc"])
        raise ConfigurationError(
            f"The setting {_nearest_setting(name, known)} is not valid",
            where=".env or environment",
            remedy=first["msg"],
        ) from error
    except ValueError as error:
        # pydantic-settings found JSON it could not read (lists and objects).
        raise ConfigurationError(
            "A setting that takes JSON is not valid",
            where=".env or environment",
            remedy=f'{error}; write lists as ["/a"] and objects as {{"/a": "/b"}}',
        ) from error


def setting_variables() -> Iterator[tuple[str, Annotated[str, "description"]]]:
    """Yield each setting's variable name and meaning, in the order of the sections."""
    yield from _variables(Settings, PREFIX)


def _variables(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        variable = prefix + name.upper()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _variables(field.annotation, variable + "__")
        else:
            yield variable, field.description or ""


def _nearest_setting(name: str, known: Iterable[str]) -> str:
    """Return the variable that a validation error's location belongs to.

    A location may go deeper than the variable (an item of a list).
    """
    return max((k for k in known if name.startswith(k)), key=len, default=name)
