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

from stashhog_core.stash_settings import Address, Password, Section

PlacePolicy = Literal["hardlink", "hardlink_or_copy", "reflink", "copy"]
CleanUp = Literal["none", "remove_torrent", "remove_torrent_and_files"]
Tag = Annotated[str, Field(pattern=r"^[^,\s]([^,]*[^,\s])?$")]
"""A tag of qBittorrent, which writes lists of them with commas."""

LAYOUT_FIELDS = frozenset({"category", "name", "hash"})
"""What the layout of the library can be made of."""


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
    sub_categories: bool = Field(
        default=False,
        description="Also take torrents of categories below that one, such as "
        "stash/new.",
    )
    path_map: dict[str, str] = Field(
        default_factory=dict,
        description="qBittorrent's path prefix to the local one (JSON object).",
    )
    place: PlacePolicy = Field(
        default="hardlink_or_copy",
        description="How a file gets into the library: hardlink, hardlink_or_copy (a "
        "link, else a clone, else a copy), reflink (a clone, else a copy) or copy.",
    )
    layout: str = Field(
        default="{name}",
        description="A download's place in the library, of {category}, {name} and "
        "{hash}, such as {category}/{name}.",
    )
    file_mode: str | None = Field(
        default=None,
        pattern="^0?[0-7]{3}$",
        description="Permissions of copied files, such as 664; none: the download's.",
    )
    folder_mode: str | None = Field(
        default=None,
        pattern="^[0-7]{3,4}$",
        description="Permissions of new library folders, such as 2775; none: the "
        "system's.",
    )
    group: str | None = Field(
        default=None,
        min_length=1,
        description="Group of copied files and new library folders; none: the "
        "system's.",
    )
    minimum_length_seconds: float = Field(
        default=0,
        ge=0,
        description="Shorter videos are left out; 0: none is.",
    )
    junk_patterns: tuple[str, ...] = Field(
        default=(),
        description="Names of files and folders to leave out besides samples and "
        "junk, such as *proof* (JSON list).",
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
            raise ValueError(f"it is no template: {error}") from error
        known = {(name, "", None) for name in LAYOUT_FIELDS}
        if not fields <= known or {"", ".", ".."} & set(parts):
            raise ValueError(
                "write it as a relative path of {category}, {name} and {hash}"
            )
        if "{name}" not in parts[-1]:
            raise ValueError("its last part must hold {name}")
        return layout


def _with_scheme(address: Any) -> Any:
    """Return an address with a scheme: qBittorrent's own texts leave it out."""
    if isinstance(address, str) and address and "://" not in address:
        return f"http://{address}"
    return address


class QBittorrentSettings(Section):
    """The qBittorrent Web API."""

    url: Annotated[Address, BeforeValidator(_with_scheme)] = Field(
        default="http://localhost:8080", description="Address of qBittorrent's Web UI."
    )
    username: str = Field(default="admin", description="Web UI user.")
    password: Password = Field(default=SecretStr(""), description="Web UI password.")
    ca_file: Path | None = Field(
        default=None,
        description="PEM file of the certificates to trust at qBittorrent, in place of "
        "the usual ones.",
    )
    timeout_seconds: float = Field(
        default=30, gt=0, description="Longest wait for one answer of qBittorrent."
    )
    required_tags: tuple[Tag, ...] = Field(
        default=(), description="Tags a torrent must all have (JSON list)."
    )
    refused_tags: tuple[Tag, ...] = Field(
        default=(), description="Tags that keep a torrent from being taken (JSON list)."
    )
    save_paths: tuple[str, ...] = Field(
        default=(),
        description="Save paths to take torrents from, with all below, as qBittorrent "
        "names them (JSON list); none: any.",
    )
    done_tag: Tag = Field(
        default="synced", description="Tag of torrents that are in the library."
    )
    failed_tag: Tag = Field(
        default="error_syncing",
        description="Tag of torrents that failed; taking it away asks for another try.",
    )
    post_import_category: str | None = Field(
        default=None,
        # What qBittorrent takes as a category, perhaps below others.
        pattern=r"^[^\\/]+(/[^\\/]+)*$",
        description="Category a torrent gets once it is in the library; none: it "
        "keeps its own.",
    )
    clean_up: CleanUp = Field(
        default="none",
        description="What happens to torrents that are in the library and need not "
        "seed: none, remove_torrent or remove_torrent_and_files.",
    )
    clean_up_limit: int = Field(
        default=10, ge=1, description="Most torrents removed in one run."
    )

    @field_validator("failed_tag")
    @classmethod
    def check_failed_tag(cls, tag: str, values: ValidationInfo) -> str:
        """Return the tag after making sure that it is not the other one."""
        if tag == values.data.get("done_tag"):
            raise ValueError("it must not be the tag of what is in the library")
        return tag
