"""All checks that need no Prefect, in the order in which users see them."""

from stashhog_core.health.checks import Check
from stashhog_core.health.database import (
    check_database,
    check_holders,
    check_locks,
    check_schema,
    check_superuser,
)
from stashhog_core.health.downloads import (
    check_library,
    check_links,
    check_source,
    check_space,
)
from stashhog_core.health.machine import (
    check_home,
    check_home_space,
    check_proxies,
    check_settings,
    check_watches,
)
from stashhog_core.health.path_map import check_path_map
from stashhog_core.health.stash import (
    check_clock,
    check_scan_paths,
    check_stash,
    check_visible,
)
from stashhog_core.health.taggers import (
    check_ai_server,
    check_onnx,
    check_text_model,
    check_title_cards,
)
from stashhog_core.health.work import (
    check_jobs,
    check_mirror,
    check_stash_jobs,
    check_waiting,
)

MACHINE = (
    Check("settings", check_settings),
    Check("home", check_home),
    Check(
        "home space",
        check_home_space,
        needs=("home",),
        is_quick=True,
        before_runs="fail",
    ),
    Check("proxies", check_proxies),
    Check("watches", check_watches),
)
DATABASE = (
    Check("database", check_database, needs=("home",)),
    Check("tables", check_schema, needs=("database",)),
    Check("database account", check_superuser, needs=("database",)),
    Check("job locks", check_locks, needs=("database",)),
    Check("long runs", check_holders, needs=("database",)),
)
STASH = (
    Check("Stash", check_stash, is_quick=True),
    Check("Stash programs", check_clock, needs=("Stash",)),
    Check(
        "scan paths",
        check_scan_paths,
        needs=("Stash",),
        is_quick=True,
        before_runs="fail",
    ),
    Check("path map", check_path_map, needs=("Stash",)),
    Check(
        "placed files",
        check_visible,
        needs=("Stash",),
        is_quick=True,
        before_runs="warn",
    ),
)
DOWNLOADS = (
    Check("library", check_library, is_quick=True),
    Check("downloads", check_source),
    Check("links", check_links, needs=("library", "downloads")),
    Check("free space", check_space, needs=("library",), is_quick=True),
)
TAGGERS = (
    Check("AI server", check_ai_server),
    Check("ONNX model", check_onnx),
    Check("title cards", check_title_cards),
    Check("text model", check_text_model),
)
WORK = (
    Check("last runs", check_jobs, needs=("tables",)),
    Check("mirror", check_mirror, needs=("tables",)),
    Check("Stash jobs", check_stash_jobs, needs=("tables",)),
    Check("waiting work", check_waiting, needs=("tables",)),
)
CHECKS = (*MACHINE, *DATABASE, *STASH, *DOWNLOADS, *TAGGERS, *WORK)
QUICK = tuple(check for check in CHECKS if check.is_quick)
