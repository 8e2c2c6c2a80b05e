"""`stashhog init`: ask for the settings, try each answer, and write `.env`."""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import SecretStr

from stashhog.cli.console import console, path, plain
from stashhog_core.errors import ConfigurationError
from stashhog_core.settings import (
    ENV_FILE_VARIABLE,
    PREFIX,
    Settings,
    configured_variables,
    get_settings,
    hide_secrets,
    is_secret,
    load_settings,
)

if TYPE_CHECKING:
    from stashhog_core.results import CheckLine

app = typer.Typer()

_STASH_URL = "STASHHOG_STASH__URL"
_STASH_KEY = "STASHHOG_STASH__API_KEY"
_SCAN_PATHS = "STASHHOG_STASH__SCAN_PATHS"
_PATH_MAP = "STASHHOG_STASH__PATH_MAP"
_SOURCE = "STASHHOG_DOWNLOADS__SOURCE"
_FOLDER = "STASHHOG_DOWNLOADS__FOLDER"
_LIBRARY = "STASHHOG_DOWNLOADS__LIBRARY_ROOT"
_CATEGORY = "STASHHOG_DOWNLOADS__CATEGORY"
_DOWNLOAD_MAP = "STASHHOG_DOWNLOADS__PATH_MAP"
_QB_URL = "STASHHOG_QBITTORRENT__URL"
_QB_USER = "STASHHOG_QBITTORRENT__USERNAME"
_QB_PASSWORD = "STASHHOG_QBITTORRENT__PASSWORD"  # noqa: S105 - a name
_DATABASE = "STASHHOG_DATABASE__URL"
_MAPS = {"path map": _PATH_MAP, "links": _DOWNLOAD_MAP}
"""The checks that propose a mapping, and the setting that it belongs to."""

_LAST_CHECKS = ("database", "job locks", "path map", "placed files", "links")


@app.command("init")
def init(
    stash_url: Annotated[
        str | None, typer.Option(help="Address of Stash, such as http://nas:9999.")
    ] = None,
    stash_api_key: Annotated[
        str | None, typer.Option(help="API key of Stash, if Stash needs a login.")
    ] = None,
    library: Annotated[
        Path | None,
        typer.Option(
            parser=path, help="Library folder into which downloads are placed."
        ),
    ] = None,
    downloads: Annotated[
        Path | None,
        typer.Option(parser=path, help="Folder to watch for finished downloads."),
    ] = None,
    qbittorrent_url: Annotated[
        str | None,
        typer.Option(help="Address of qBittorrent, in place of a watch folder."),
    ] = None,
    qbittorrent_username: Annotated[
        str | None, typer.Option(help="User name for qBittorrent.")
    ] = None,
    qbittorrent_password: Annotated[
        str | None, typer.Option(help="Password for qBittorrent.")
    ] = None,
    category: Annotated[
        str | None, typer.Option(help="Category of the torrents to import.")
    ] = None,
    path_map: Annotated[
        list[str] | None,
        typer.Option(
            help="Stash's folder and the local folder that it is, as /data=/mnt/videos."
        ),
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(help="Your own PostgreSQL, in place of the embedded one."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(parser=path, help="File to write, in place of .env."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing; use options and defaults.")
    ] = False,
    dry_run: Annotated[
        bool | None,
        typer.Option(help="Show what a first import would do, which changes nothing."),
    ] = None,
) -> None:
    """Set StashHog up: ask for the settings, try each of them, and write .env.

    Each answer is tried at once, path maps are found by themselves, and the changes of
    .env are shown before they are written. With --yes, a failure writes nothing.
    """
    from stashhog.env_file import file_to_write

    given = {
        _STASH_URL: stash_url,
        _STASH_KEY: stash_api_key,
        _LIBRARY: str(library.expanduser().absolute()) if library else None,
        _FOLDER: str(downloads.expanduser().absolute()) if downloads else None,
        _QB_URL: qbittorrent_url,
        _QB_USER: qbittorrent_username,
        _QB_PASSWORD: qbittorrent_password,
        _CATEGORY: category,
        _PATH_MAP: json.dumps(_pairs(path_map)) if path_map else None,
        _DATABASE: database_url,
    }
    if downloads is not None or qbittorrent_url is not None:
        if downloads is not None and qbittorrent_url is not None:
            raise typer.BadParameter(
                "give either --downloads or --qbittorrent-url, not both"
            )
        given[_SOURCE] = "folder" if downloads is not None else "qbittorrent"
    answers = {name: value for name, value in given.items() if value is not None}
    setup = _Setup(file or file_to_write(), answers, asks=not yes and _is_terminal())
    setup.stash()
    setup.library()
    setup.source()
    setup.rest()
    if setup.write():
        os.environ[ENV_FILE_VARIABLE] = str(setup.file.absolute())
        get_settings.cache_clear()
        _offer_import(dry_run, asks=setup.asks)


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _pairs(values: list[str]) -> dict[str, str]:
    pairs = {}
    for value in values:
        remote, equals, local = value.rpartition("=")
        if not (equals and remote and local):
            raise typer.BadParameter(
                f"write {value!r} as /folder/of/stash=/local/folder",
                param_hint="--path-map",
            )
        pairs[remote] = str(Path(local).expanduser())
    return pairs


class _Setup:
    """The answers so far, tried as settings before anything is written."""

    def __init__(self, file: Path, answers: dict[str, str], *, asks: bool) -> None:
        self.file = file
        self._before = file.read_text() if file.exists() else ""
        self._answers = answers
        self._given = set(answers)
        self.asks = asks

    @property
    def settings(self) -> Settings:
        """The settings as they would be with these answers.

        Raises:
            ConfigurationError: An answer is not allowed.
        """
        from stashhog.env_file import with_variables, write_private

        with tempfile.TemporaryDirectory() as folder:
            trial = Path(folder, "env")
            write_private(trial, with_variables(self._before, self._answers))
            settings = load_settings(configured_variables(trial), trial)
        hide_secrets(settings)
        return settings

    def stash(self) -> None:
        """Ask for Stash until it answers; its library folders are the scan paths."""
        self._until_good(
            ("Stash",),
            {
                _STASH_URL: "Address of Stash",
                _STASH_KEY: "API key of Stash (empty: no login)",
            },
        )
        from stashhog_core.health.checks import Checkup

        with Checkup(self.settings) as checkup:
            roots = [folder.path for folder in checkup.scan_rules.stashes]
        if roots and not self._are_inside(roots):
            self._answers[_SCAN_PATHS] = json.dumps(roots)

    def _are_inside(self, roots: list[str]) -> bool:
        from stashhog_core.paths import is_below

        return all(
            any(is_below(path, root) for root in roots)
            for path in self.settings.stash.scan_paths
        )

    def library(self) -> None:
        """Ask for the library folder until it can be written to."""
        self._until_good(
            ("library", "free space"),
            {_LIBRARY: "Library folder into which downloads are placed"},
        )

    def source(self) -> None:
        """Ask for the source of downloads until it answers."""
        if self.asks and _SOURCE not in self._given:
            self._answers[_SOURCE] = typer.prompt(
                "Where finished downloads come from: qbittorrent or folder",
                default=self.settings.downloads.source,
            )
        questions = {_FOLDER: "Folder to watch for finished downloads"}
        if self.settings.downloads.source == "qbittorrent":
            questions = {
                _QB_URL: "Address of qBittorrent",
                _QB_USER: "User name for qBittorrent",
                _QB_PASSWORD: "Password for qBittorrent",
                _CATEGORY: "Category of the torrents to import",
            }
        self._until_good(("downloads",), questions)

    def rest(self) -> None:
        """Check what follows from the answers; use the path maps that are found.

        Raises:
            ConfigurationError: A failure is left, and nobody can be asked.
        """
        lines = self._check(_LAST_CHECKS)
        found = self._found_maps(lines)
        if found:
            self._answers |= found
            for name, value in found.items():
                console.print(
                    f"  found {plain(name)}={plain(value)}",
                    soft_wrap=True,
                    highlight=False,
                )
            lines = self._check(_LAST_CHECKS)
        failed = [line for line in lines if line.state == "failure"]
        if failed and not self.asks:
            raise _unwritten(failed[0])

    def _found_maps(self, lines: "list[CheckLine]") -> dict[str, str]:
        """Return the mappings that checks propose.

        A proposal of a failure was found by files; that of a warning is for a person.
        """
        found = {}
        for line in lines:
            variable = _MAPS.get(line.name)
            if variable is None or not line.remedy.startswith(f"set {variable}="):
                continue
            value, _ = json.JSONDecoder().raw_decode(line.remedy.partition("=")[2])
            text = json.dumps(value)
            if line.state == "failure" or (
                self.asks and typer.confirm(f"Use {variable}={text}?", default=True)
            ):
                found[variable] = text
        return found

    def write(self) -> bool:
        """Show what changes and write the file; return whether it is as answered."""
        from stashhog.env_file import differences, with_variables, write_private

        after = with_variables(self._before, self._answers)
        self._warn_of_environment()
        if after == self._before and not self.file.stat().st_mode & 0o077:
            console.print(
                f"{plain(self.file)} has these settings already",
                soft_wrap=True,
                highlight=False,
            )
            return True
        console.print(
            f"Changes of {plain(self.file)}:", soft_wrap=True, highlight=False
        )
        for line in differences(self._before, after):
            colour = "green" if line.startswith("+") else "red"
            console.print(
                f"[{colour}]{plain(line)}[/]", soft_wrap=True, highlight=False
            )
        if self.asks and not typer.confirm("Write these settings?", default=True):
            console.print("Nothing was written")
            return False
        write_private(self.file, after)
        console.print(
            f"Wrote {plain(self.file)}, which only your account may read",
            soft_wrap=True,
            highlight=False,
        )
        return True

    def _warn_of_environment(self) -> None:
        for name in sorted(self._answers):
            if os.environ.get(name):
                console.print(
                    f"[yellow]{name} is also set in the environment,[/] which goes "
                    "before the file",
                    soft_wrap=True,
                    highlight=False,
                )

    def _until_good(self, checks: tuple[str, ...], questions: dict[str, str]) -> None:
        """Ask, try the answers, and ask again while they fail.

        Raises:
            ConfigurationError: They fail, and nobody can be asked.
        """
        is_first = True
        while True:
            if self.asks:
                for name, question in questions.items():
                    if not (is_first and name in self._given):
                        self._ask(name, question)
            is_first = False
            try:
                failed = [ln for ln in self._check(checks) if ln.state != "ok"]
            except ConfigurationError as error:
                if not self.asks:
                    raise
                console.print(
                    f"[red]✗[/] {plain(error)}", soft_wrap=True, highlight=False
                )
                continue
            failed = [line for line in failed if line.state == "failure"]
            if not failed:
                return
            if not self.asks:
                raise _unwritten(failed[0])

    def _ask(self, name: str, question: str) -> None:
        value = typer.prompt(
            question,
            default=self._default(name),
            hide_input=is_secret(name),
            show_default=not is_secret(name),
        )
        value = str(value).strip()
        if name in {_LIBRARY, _FOLDER} and value:
            value = str(Path(value).expanduser().absolute())
        if value or self._default(name):
            self._answers[name] = value

    def _default(self, name: str) -> str:
        """Return the present value of a setting as text."""
        if name in self._answers:
            return self._answers[name]
        section, field = name.removeprefix(PREFIX).lower().split("__")
        value: Any = getattr(getattr(self.settings, section), field)
        if value is None:
            return "http://localhost:9999" if name == _STASH_URL else ""
        return str(value.get_secret_value() if isinstance(value, SecretStr) else value)

    def _check(self, names: tuple[str, ...]) -> "list[CheckLine]":
        from stashhog.cli.health import print_checks
        from stashhog_core.health.checks import Checkup, run_checks
        from stashhog_core.health.registry import CHECKS

        with Checkup(self.settings) as checkup:
            lines = run_checks(checkup, [c for c in CHECKS if c.name in names])
        print_checks(lines)
        return lines


def _unwritten(line: "CheckLine") -> ConfigurationError:
    return ConfigurationError(
        f"{line.name}: {line.found}; nothing was written", remedy=line.remedy
    )


def _offer_import(wanted: bool | None, *, asks: bool) -> None:
    """Run the import as a dry run, if that is wanted; say how to go on."""
    if wanted is None and asks:
        wanted = typer.confirm(
            "Show what a first import would do? It changes nothing.", default=True
        )
    if wanted:
        from stashhog.cli.parameters import parse_parameters
        from stashhog.cli.runs import run_here

        values = parse_parameters("process_downloads", ["dry_run=true"])
        run_here("process_downloads", values, as_json=False)
    own = get_settings().database.url is not None
    console.print(
        "\nNext:\n"
        + ("  stashhog migrate                  make the tables, once\n" if own else "")
        + "  stashhog check                    try everything again\n"
        "  stashhog run process_new_scenes   run the whole job once\n"
        "  stashhog up                       Prefect's UI, schedules and the pages",
        highlight=False,
    )
