"""The product's settings, read once from the environment and `.env`.

Every setting is an environment variable `STASHHOG_<SECTION>__<NAME>`. The docstring
below a setting is for users: it stands, with the default, in `deployments/env.example`.
"""

import difflib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from stashhog_core.errors import ConfigurationError, first_problem
from stashhog_core.redaction import (
    clean_logs,
    remember,
    remember_address,
    remember_credentials,
)
from stashhog_core.settings.downloads import DownloadSettings as DownloadSettings
from stashhog_core.settings.downloads import PlacePolicy as PlacePolicy
from stashhog_core.settings.downloads import QBittorrentSettings as QBittorrentSettings
from stashhog_core.settings.operation import CleanupSettings as CleanupSettings
from stashhog_core.settings.operation import (
    NotificationSettings,
    ScheduleSettings,
    WebSettings,
)
from stashhog_core.settings.stash import Section as Section
from stashhog_core.settings.stash import StashServer as StashServer
from stashhog_core.settings.stash import StashSettings as StashSettings
from stashhog_core.settings.stash import without_empty
from stashhog_core.settings.stash_box import StashBoxSettings as StashBoxSettings
from stashhog_core.settings.taggers import AiServerSettings as AiServerSettings
from stashhog_core.settings.taggers import OnnxSettings as OnnxSettings
from stashhog_core.settings.taggers import TextModelSettings as TextModelSettings
from stashhog_core.text_patterns import Written

PREFIX = "STASHHOG_"
ENV_FILE = ".env"
ENV_FILE_VARIABLE = "STASHHOG_ENV_FILE"
"""Names the file that is read instead of `.env`."""
PROJECT = Path(__file__).parents[2]
# fmt: off
STASH_VIDEO_EXTENSIONS = frozenset({
    "asf", "avi", "f4v", "flv", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "rm",
    "rmvb", "webm", "wmv",
})
"""What Stash takes as a video by default."""

_EXTRA_VIDEO_EXTENSIONS = (
    "3g2", "3gp", "divx", "m2ts", "mts", "mxf", "ogm", "ogv", "ts", "vob", "xvid",
)
# fmt: on

TEST_PREFIX = "STASHHOG_TEST_"
"""Variables of the test suite; no settings of the product."""


class DatabaseSettings(Section):
    """PostgreSQL."""

    url: SecretStr | None = None
    """Address of your PostgreSQL database, such as
    postgresql://user:password@host/name. If empty, StashHog runs an embedded PostgreSQL
    server."""


Extension = Annotated[
    str,
    Written(r"^[A-Za-z0-9_-]+$", "an extension without a dot, such as mp4"),
    AfterValidator(str.lower),
]


class LibrarySettings(Section):
    """The directory scan."""

    allowed_scan_roots: tuple[Path, ...] = ()
    """Folders that directory scans are allowed to read (JSON list). If empty, directory
    scans are off."""

    extra_video_extensions: tuple[Extension, ...] = _EXTRA_VIDEO_EXTENSIONS
    """Extensions of video files that imports and directory scans accept in addition to
    the extensions that Stash accepts by default (JSON list, without dots). Add them to
    Stash's video extensions as well, or Stash does not scan these files."""

    @cached_property
    def video_extensions(self) -> frozenset[str]:
        """All extensions of videos, in lower case and without dots."""
        return STASH_VIDEO_EXTENSIONS.union(self.extra_video_extensions)


class SyncSettings(Section):
    """The mirror of Stash's library."""

    conflicts: Literal["remote_wins", "local_wins", "ask"] = "ask"
    """Which value wins if a field was edited both here and in Stash: remote_wins,
    local_wins or ask. With ask, the local value stays and the conflict is listed for
    you to decide."""

    listing_interval_minutes: int = Field(default=60, ge=0, le=10080)
    """Longest time in minutes between two comparisons of the whole library with the
    mirror (0 to 10080). Checks in between ask Stash only what has changed. If 0, every
    check compares the whole library."""


class AnalysisSettings(Section):
    """Batches and thresholds of the analysis."""

    batch_size: int = Field(default=100, ge=1, le=1000)
    """Number of scenes in one analysis batch (1 to 1000)."""

    parallel_batches: int = Field(default=2, ge=1, le=32)
    """Number of analysis batches that run in parallel (1 to 32)."""

    confidence_threshold: float = Field(default=0.7, ge=0, le=1)
    """Minimum confidence of a proposed change (0 to 1)."""

    auto_approve: bool = True
    """Have process_new_scenes approve and apply every change that it proposes. If off,
    its plans wait for your review."""

    detect_performers: bool = False
    """Have process_new_scenes and auto_video_analysis also propose performers."""

    detect_studios: bool = False
    """Have process_new_scenes and auto_video_analysis also propose the studio, the
    studio's code and the date."""

    detect_details: bool = False
    """Have process_new_scenes and auto_video_analysis also propose cleaned-up
    details."""

    detect_fingerprints: bool = False
    """Have process_new_scenes and auto_video_analysis also identify scenes at
    stash-boxes by their fingerprints."""

    create_missing_tags: bool = True
    """Create a tag in Stash if an approved change needs a tag that Stash lacks. If off,
    such changes are not proposed."""

    auto_approve_trusted: bool = False
    """Approve a change automatically once reviewers have accepted enough similar
    changes."""

    trust_bound: float = Field(default=0.95, gt=0, lt=1)
    """Share of similar changes that reviewers must have accepted, with 95 % certainty,
    for automatic approval (between 0 and 1)."""

    trust_votes: int = Field(default=20, ge=1)
    """Minimum number of decisions on similar changes for automatic approval."""

    audit_share: float = Field(default=0.05, ge=0, le=1)
    """Share of the trusted changes that stay open for reviewers as a random sample (0
    to 1)."""

    technical_tags: dict[str, str] = Field(default_factory=dict)
    """Your names for the technical tags 480p, 720p, 1080p, 1440p, 4k, 8k, portrait,
    square, 60fps, short, long, silent, hdr, hevc, av1, vp9, vr (JSON object). A tag
    with an empty name is never proposed."""


class RunnerSettings(Section):
    """Where mapped tasks run: analysis batches, and the shards of a directory scan."""

    kind: Literal["threads", "processes", "dask", "ray"] = "threads"
    """Where analysis batches and the shards of a directory scan run: threads,
    processes, dask or ray. dask and ray need an additional package, see
    docs/runners.md."""

    address: str | None = None
    """Address of the Dask scheduler or the Ray head, such as tcp://host:8786. If empty,
    each run starts a cluster on this machine."""

    timeout_seconds: float = Field(default=10, gt=0)
    """Maximum time to wait for the Dask scheduler at this address, in seconds."""


class Settings(BaseSettings):
    """All settings. Read them with `get_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="ignore",
        frozen=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_is_not_set(cls, values: dict[str, Any]) -> dict[str, Any]:
        return without_empty(cls, values)

    home: Path = Path("~/.stashhog")
    """Folder of the embedded database, of results and of logs."""

    stash: StashSettings = StashSettings()
    database: DatabaseSettings = DatabaseSettings()
    downloads: DownloadSettings = DownloadSettings()
    qbittorrent: QBittorrentSettings = QBittorrentSettings()
    ai_server: AiServerSettings = AiServerSettings()
    onnx: OnnxSettings = OnnxSettings()
    text_model: TextModelSettings = TextModelSettings()
    stash_box: StashBoxSettings = StashBoxSettings()
    library: LibrarySettings = LibrarySettings()
    sync: SyncSettings = SyncSettings()
    analysis: AnalysisSettings = AnalysisSettings()
    runner: RunnerSettings = RunnerSettings()
    schedules: ScheduleSettings = ScheduleSettings()
    notifications: NotificationSettings = NotificationSettings()
    cleanup: CleanupSettings = CleanupSettings()
    web: WebSettings = WebSettings()

    @property
    def home_folder(self) -> Path:
        """`home` with `~` resolved."""
        return self.home.expanduser().resolve()


def make_home_folder(folder: Path) -> None:
    """Make the folder that `STASHHOG_HOME` names, or a folder in it.

    Raises:
        ConfigurationError: It cannot be made there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            "The folder for databases, results and logs cannot be made",
            where=str(folder),
            remedy="set STASHHOG_HOME to a folder that you may write to "
            f"({error.strerror})",
        ) from error


@cache
def get_settings() -> Settings:
    """Return the settings, read on the first call.

    Raises:
        ConfigurationError: A variable is unknown, or its value is not allowed.
    """
    settings = load_settings(configured_variables())
    hide_secrets(settings)
    return settings


def hide_secrets(settings: Settings) -> None:
    """Keep all secrets of the settings out of errors and logs from now on."""
    clean_logs()
    for value in _values(settings):
        if isinstance(value, SecretStr):
            secret = value.get_secret_value()
            # An address hides its password alone: its host is no secret.
            (remember_address if "://" in secret else remember)(secret)
        elif isinstance(value, str) and "://" in value:
            remember_address(value)
    password = settings.qbittorrent.password.get_secret_value()
    remember_credentials(settings.qbittorrent.username, password)


def _values(value: Any) -> Iterator[Any]:
    """Yield whatever a setting holds, at any depth."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _values(getattr(value, name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _values(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _values(item)
    else:
        yield value


def env_file() -> Path:
    """Return the `.env` of the working directory, or else that of the checkout.

    The file that the environment names comes before both: Prefect's workers start each
    run in an empty folder of its own, and an installed wheel has no checkout.

    Raises:
        ConfigurationError: The environment names a file that does not exist.
    """
    if named := os.environ.get(ENV_FILE_VARIABLE):
        if not Path(named).is_file():
            raise ConfigurationError(
                f"{ENV_FILE_VARIABLE} names a file that does not exist",
                where=named,
                remedy=f"correct the path, or unset {ENV_FILE_VARIABLE}",
            )
        return Path(named)
    here = Path(ENV_FILE)
    return here if here.exists() else PROJECT / ENV_FILE


@contextmanager
def reading_settings_from(file: Path) -> Iterator[None]:
    """Have everything in the block read this file in place of `.env`."""
    before = os.environ.get(ENV_FILE_VARIABLE)
    os.environ[ENV_FILE_VARIABLE] = str(file)
    get_settings.cache_clear()
    try:
        yield
    finally:
        get_settings.cache_clear()
        if before is None:
            del os.environ[ENV_FILE_VARIABLE]
        else:
            os.environ[ENV_FILE_VARIABLE] = before


def configured_variables(file: Path | None = None) -> dict[str, str]:
    """Return the `STASHHOG_` variables of `.env` and the environment, upper case.

    Those that are set to nothing are not among them. `file` is read in place of `.env`.
    """
    return {
        name.upper(): value
        for name, value in {
            **dotenv_values(file or env_file()),
            **os.environ,
        }.items()
        if value
        and name.upper().startswith(PREFIX)
        and not name.upper().startswith((ENV_FILE_VARIABLE, TEST_PREFIX))
    }


def load_settings(variables: Mapping[str, str], file: Path | None = None) -> Settings:
    """Check the names of `variables`, then read the settings.

    Raises:
        ConfigurationError: A variable is unknown, or its value is not allowed.
    """
    known = setting_variables()
    for name in variables:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            raise ConfigurationError(
                f"The setting {name} does not exist",
                remedy=f"did you mean {nearest[0]}?"
                if nearest
                else "run `stashhog settings` to see all settings",
            )
    _require_json(variables)
    try:
        return Settings(_env_file=file or env_file())
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + "__".join(str(part).upper() for part in first["loc"])
        raise ConfigurationError(
            f"The setting {_nearest_setting(name, known)} is not valid",
            where=".env or environment",
            remedy=first_problem(error),
        ) from error


def _require_json(variables: Mapping[str, str]) -> None:
    for name, field in _fields(Settings, PREFIX):
        if name not in variables or get_origin(field.annotation) not in {tuple, dict}:
            continue
        try:
            json.loads(variables[name])
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(
                f"The setting {name} is not JSON",
                where=".env or environment",
                remedy='write lists as ["/a"] and objects as {"/a": "/b"}',
            ) from error


def setting_variables() -> list[str]:
    """Return the variable of each setting, in the order of the sections."""
    return [name for name, _ in _fields(Settings, PREFIX)]


def is_secret(variable: str) -> bool:
    """Tell whether a variable of the settings holds a secret."""
    return any(
        name == variable and "Secret" in str(field.annotation)
        for name, field in _fields(Settings, PREFIX)
    )


def _fields(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        variable = prefix + name.upper()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _fields(field.annotation, variable + "__")
        else:
            yield variable, field


def _nearest_setting(name: str, known: Iterable[str]) -> str:
    """Return the variable that a validation error's location belongs to.

    A location may go deeper than the variable (an item of a list).
    """
    return max((k for k in known if name.startswith(k)), key=len, default=name)
