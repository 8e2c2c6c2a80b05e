"""The settings of schedules, of notifications, and of how long history is kept."""

from typing import Annotated

from pydantic import Field, SecretStr

from stashhog_core.settings.stash import Section
from stashhog_core.text_patterns import Written

_CRON = r"([\d*,/\-A-Za-z]+ ){4}[\d*,/\-A-Za-z#]+"
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared only
Timing = Annotated[
    str,
    Written(
        rf"^(on|off|[1-9]\d*|{_CRON})$",
        "on, off, a number of seconds, or a cron schedule such as 0 4 * * *",
    ),
]
"""on, off, seconds between runs, or five fields of cron."""

Block = Annotated[
    str,
    Written(r"^[a-z0-9-]+/[a-z0-9-]+$", "type/name of a block, such as webhook/alerts"),
]
PublicUrl = Annotated[
    str,
    Written(
        r"^https?://[^/?#@]+/?$",
        "an address without a path, such as https://stashhog.example.com",
    ),
]


def _schedule(deployment: str, default: str) -> Timing | None:
    field: Timing | None = Field(
        default=None,
        description=f"Schedule of {deployment}: a number of seconds, a cron schedule, "
        "on or off. If empty, the schedule stays as Prefect's UI shows it; at first it "
        f"is {default}.",
    )
    return field


class ScheduleSettings(Section):
    """When deployments run by themselves; applied by `stashhog up`.

    What is set here goes before what was switched in Prefect's UI; what is not stays
    as it was switched there.
    """

    timezone: str = "UTC"
    """Time zone of the cron schedules below, such as Europe/Berlin. On days when clocks
    change, Prefect starts a run of the skipped hour one hour early, and starts no run
    in the repeated hour. If this matters, choose UTC or an hour that occurs exactly
    once every day."""

    auto_stash_sync: Timing | None = _schedule(
        "auto-stash-sync (the daemon's job_interval_seconds)", "every 300 seconds"
    )
    process_new_scenes: Timing | None = _schedule(
        "process-new-scenes", "0 4 * * *, switched off"
    )
    process_downloads: Timing | None = _schedule(
        "process-downloads", "every 300 seconds, switched off"
    )
    sync_deep: Timing | None = _schedule("sync-deep", "30 2 * * *")
    verify_mirror: Timing | None = _schedule("verify-mirror", "0 3 * * *")
    check_stash_generate: Timing | None = _schedule(
        "check-stash-generate", "0 5 * * 0, switched off"
    )
    auto_video_analysis: Timing | None = _schedule(
        "auto-video-analysis", "every 600 seconds, switched off"
    )
    auto_plan_apply: Timing | None = _schedule(
        "auto-plan-apply", "every 3600 seconds, switched off"
    )
    auto_stash_generate: Timing | None = _schedule(
        "auto-stash-generate", "every 3600 seconds, switched off"
    )
    cleanup: Timing | None = _schedule("cleanup", "30 3 * * *")


class NotificationSettings(Section):
    """Who is told of runs that failed."""

    blocks: tuple[Block, ...] = ()
    """Prefect blocks that notify you of failed runs, written as type/name (JSON list),
    such as ["webhook/alerts", "sendgrid-email/me"]. If empty, nobody is notified."""


class WebSettings(Section):
    """The pages for review in the browser: `stashhog web`."""

    host: str = "127.0.0.1"
    """Address that the pages are served at. With an address that other machines can
    reach, such as 0.0.0.0, a password is required."""

    port: int = Field(default=4201, ge=1, le=65535)
    """Port that the pages are served at."""

    public_url: PublicUrl | None = None
    """Address at which your browser reaches the pages, without a path, used for links
    in Prefect's UI and in notifications. If empty, links use the address at this
    machine."""

    password: SecretStr | None = None
    """Password of the pages. If empty, only the address that StashHog prints at the
    start lets you in."""

    host_names: tuple[str, ...] = ()
    """More names that browsers reach the pages by, such as the name of this machine or
    of a proxy (JSON list). Requests for other names are refused."""

    @property
    def local_base(self) -> str:
        """Where this machine reaches the pages, without a slash at the end."""
        host = _ANYWHERE.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def link_base(self) -> str:
        """What links to the pages begin with, without a slash at the end; no token."""
        return self.public_url.rstrip("/") if self.public_url else self.local_base

    picture_megabytes: int = Field(default=500, ge=10)
    """Maximum size of the cached pictures of scenes, in megabytes (at least 10)."""


class CleanupSettings(Section):
    """How long history is kept. The newest proofs stay, however old."""

    reports_days: int = Field(default=30, ge=2)
    """Number of days for which job reports and the files of their results are kept (at
    least 2)."""

    runs_days: int = Field(default=30, ge=2)
    """Number of days for which runs in Prefect are kept, with their logs and artifacts
    (at least 2)."""

    skipped_runs_days: int = Field(default=1, ge=1)
    """Number of days for which runs in Prefect that had nothing to do are kept."""

    sync_runs_days: int = Field(default=30, ge=1)
    """Number of days for which the history of syncs and of mirror checks is kept."""

    stash_jobs_days: int = Field(default=30, ge=1)
    """Number of days for which records of ended Stash jobs are kept."""

    downloads_days: int = Field(default=90, ge=1)
    """Number of days for which records of imported downloads are kept once the download
    is gone from its source."""

    tagger_results_days: int = Field(default=180, ge=1)
    """Number of days for which tagger results are kept once their video is gone from
    Stash."""
