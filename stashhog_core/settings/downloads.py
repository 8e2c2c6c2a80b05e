"""The settings of the downloads and of qBittorrent."""

import string
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from stashhog_core.settings.stash import Address, Password, Section
from stashhog_core.text_patterns import Written

PlacePolicy = Literal["hardlink", "hardlink_or_copy", "reflink", "copy"]
CleanUp = Literal["none", "remove_torrent", "remove_torrent_and_files"]
Tag = Annotated[
    str,
    Written(
        r"^[^,\s]([^,]*[^,\s])?$",
        "a tag of qBittorrent: without commas, and without spaces at its ends",
    ),
]
"""A tag of qBittorrent, which writes lists of them with commas."""

Category = Annotated[
    str,
    Written(
        r"^[^\\/]+(/[^\\/]+)*$", "a category of qBittorrent, such as films or films/new"
    ),
]
"""What qBittorrent takes as a category, perhaps below others."""

FileMode = Annotated[
    str, Written("^0?[0-7]{3}$", "three digits from 0 to 7, such as 664")
]
FolderMode = Annotated[
    str, Written("^[0-7]{3,4}$", "three or four digits from 0 to 7, such as 2775")
]

LAYOUT_FIELDS = frozenset({"category", "name", "hash"})
"""What the layout of the library can be made of."""


class DownloadSettings(Section):
    """Where finished downloads come from and where they go."""

    source: Literal["qbittorrent", "folder"] = "folder"
    """How finished downloads are detected: `qbittorrent` or `folder`."""

    folder: Path | None = None
    """Folder that is watched for finished downloads if the source is `folder`."""

    library_root: Path | None = None
    """Library folder into which downloads are placed."""

    category: str = "stash"
    """Category in qBittorrent whose torrents are imported. If empty, torrents of every
    category are imported."""

    sub_categories: bool = False
    """Also import torrents of subcategories, such as stash/new."""

    path_map: dict[str, str] = Field(default_factory=dict)
    """Path prefixes of qBittorrent and the local folders that they stand for (JSON
    object), such as {"/downloads": "/mnt/downloads"}."""

    place: PlacePolicy = "hardlink_or_copy"
    """How a file is placed in the library: hardlink, hardlink_or_copy (a hard link if
    possible, else a reflink, else a copy), reflink (a reflink if possible, else a copy)
    or copy."""

    layout: str = "{name}"
    """Relative path of a download in the library, made of {category}, {name} and
    {hash}, such as {category}/{name}. The last part must contain {name}."""

    file_mode: FileMode | None = None
    """Permissions of copied files, such as 664. If empty, a copy gets the permissions
    of the download."""

    folder_mode: FolderMode | None = None
    """Permissions of new library folders, such as 2775. If empty, the system's default
    applies."""

    group: str | None = Field(default=None, min_length=1)
    """Group that owns copied files and new library folders. If empty, the system's
    default applies."""

    minimum_length_seconds: float = Field(default=0, ge=0)
    """Minimum length of a video in seconds. 0 accepts every video."""

    junk_patterns: tuple[str, ...] = ()
    """Name patterns of additional files and folders to leave out, such as *proof* (JSON
    list). Samples are always left out."""

    settle_seconds: float = Field(default=5, ge=0)
    """Quiet period in seconds: a file in the watch folder counts as finished once its
    size and times have not changed for this long."""

    max_tries: int = Field(default=8, ge=1)
    """Number of failed tries after which a file is blocked."""

    reserve_bytes: int = Field(default=500_000_000, ge=0)
    """Free space in bytes that copying must leave on the library's disk."""

    @field_validator("layout")
    @classmethod
    def check_layout(cls, layout: str) -> str:
        """Return the template after making sure that it makes paths in the library."""
        parts = layout.split("/")
        try:
            fields = {
                (name, specification, conversion)
                for _, name, specification, conversion in string.Formatter().parse(
                    layout
                )
                if name is not None
            }
        except ValueError as error:
            raise ValueError(f"the layout is not a valid template: {error}") from error
        known = {(name, "", None) for name in LAYOUT_FIELDS}
        if not fields <= known or {"", ".", ".."} & set(parts):
            raise ValueError(
                "write the layout as a relative path of {category}, {name} and {hash}"
            )
        if "{name}" not in parts[-1]:
            raise ValueError("the last part of the layout must contain {name}")
        return layout


def _with_scheme(address: Any) -> Any:
    """Return an address with a scheme: qBittorrent's own texts leave it out."""
    if isinstance(address, str) and address and "://" not in address:
        return f"http://{address}"
    return address


class QBittorrentSettings(Section):
    """The qBittorrent Web API."""

    url: Annotated[Address, BeforeValidator(_with_scheme)] = "http://localhost:8080"
    """Address of qBittorrent's Web UI."""

    username: str = "admin"
    """User name for qBittorrent's Web UI."""

    password: Password = SecretStr("")
    """Password for qBittorrent's Web UI."""

    ca_file: Path | None = None
    """PEM file of the certificates to trust when StashHog connects to qBittorrent.
    These certificates replace the system's default ones."""

    timeout_seconds: float = Field(default=30, gt=0)
    """Maximum time to wait for one answer of qBittorrent, in seconds."""

    required_tags: tuple[Tag, ...] = ()
    """Tags that a torrent must have to be imported (JSON list). A torrent must have all
    of these tags."""

    refused_tags: tuple[Tag, ...] = ()
    """Tags that exclude a torrent from the import (JSON list)."""

    save_paths: tuple[str, ...] = ()
    """Save paths, as qBittorrent names them, whose torrents are imported, including all
    folders below (JSON list). If empty, torrents of every save path are imported."""

    done_tag: Tag = "synced"
    """Tag that StashHog gives to torrents whose files are in the library."""

    failed_tag: Tag = "error_syncing"
    """Tag that StashHog gives to torrents whose import failed. Remove the tag in
    qBittorrent to try the import again."""

    post_import_category: Category | None = None
    """Category that a torrent gets once its files are in the library. If empty, the
    torrent keeps its category."""

    clean_up: CleanUp = "none"
    """What happens to torrents whose files are in the library and that have reached
    their seeding limits: none, remove_torrent or remove_torrent_and_files."""

    clean_up_limit: int = Field(default=10, ge=1)
    """Maximum number of torrents that one run removes."""

    @field_validator("failed_tag")
    @classmethod
    def check_failed_tag(cls, tag: str, values: ValidationInfo) -> str:
        """Return the tag after making sure that it is not the other one."""
        if tag == values.data.get("done_tag"):
            raise ValueError(
                "this tag must differ from the tag of torrents whose "
                "files are in the library"
            )
        return tag
