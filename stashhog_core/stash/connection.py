"""What a Stash server is asked about itself: its settings, stash-boxes and jobs."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Self, TypeVar

import httpx

from stashhog_core.errors import (
    ConfigurationError,
    JobError,
    RefusedError,
    TransientError,
    UnreadableError,
)
from stashhog_core.settings import StashSettings
from stashhog_core.stash import documents as d
from stashhog_core.stash.box_errors import box_error
from stashhog_core.stash.box_payloads import RemoteScene
from stashhog_core.stash.payloads import (
    Job,
    LogEntry,
)
from stashhog_core.stash.transport import READ_LOG, RETRY_DELAYS_SECONDS, Transport

T = TypeVar("T")


class StashConnection:
    """A connection to a Stash server. Close it, or use it in a `with` statement.

    Every method raises `ConfigurationError` (wrong key), `TransientError` (no answer)
    or `JobError` (an error as the answer). Reads ride out short outages by themselves;
    writes are sent once, and it is for the caller to look what became of them.

    Args:
        settings: Address, key, time limit.
        transport: What carries the requests; None: the network.
        retry_delays_seconds: Pauses before a read is tried again.
    """

    def __init__(
        self,
        settings: StashSettings,
        transport: httpx.BaseTransport | None = None,
        *,
        retry_delays_seconds: tuple[float, ...] = RETRY_DELAYS_SECONDS,
    ) -> None:
        self._transport = Transport(settings, transport, retry_delays_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back all connections."""
        self._transport.close()

    @property
    def address(self) -> str:
        """Where the server is, without credentials."""
        return self._transport.address

    # --- the server ------------------------------------------------------------------

    def version(self) -> str:
        """Return Stash's version; empty for a build that does not know it."""
        return self._one(d.VERSION).version or ""

    def check_ready(self) -> None:
        """Make sure, without waiting, that Stash is there, set up, and lets us in.

        Raises:
            ConfigurationError: It is not; says what to check.
        """
        try:
            status = self._one(
                d.SYSTEM_STATUS, timeout_seconds=self._transport.timeout_seconds
            ).status
        except (TransientError, JobError) as error:
            remedy = error.remedy or "check STASHHOG_STASH__URL"
            raise ConfigurationError(error.what, error.where, remedy) from error
        if status != "OK":
            raise ConfigurationError(
                f"Stash is not set up yet (its status is {status})",
                where=self.address,
                remedy="open STASHHOG_STASH__URL in a browser and finish its set-up",
            )

    def library_roots(self) -> list[str]:
        """Return the folders of Stash's library, as Stash names them."""
        stashes = self._one(d.LIBRARY_ROOTS).general.stashes
        return [folder.path for folder in stashes]

    def programs(self) -> tuple[d.Programs, datetime | None]:
        """Return the programs that Stash uses, and what its clock says."""
        return self._dated(d.PROGRAMS)

    def recent_log(self) -> list[LogEntry]:
        """Return the last lines of Stash's log, the newest first: about 30."""
        lines = self._transport.send(d.RECENT_LOG)
        return list(lines or ())

    def scan_rules(self) -> d.ScanRules:
        """Return which files Stash's scan takes as videos."""
        return self._one(d.SCAN_RULES).general

    # --- stash-boxes -----------------------------------------------------------------

    def stash_boxes(self) -> list[str]:
        """Return the addresses of Stash's stash-boxes, in Stash's order."""
        return [box.endpoint for box in self._one(d.STASH_BOXES).general.stash_boxes]

    def scrape_scenes(
        self,
        endpoint: str,
        ids: Sequence[int],
        *,
        timeout_seconds: float,
        covers: bool = False,
    ) -> Sequence[Sequence[RemoteScene]]:
        """Have Stash ask a stash-box for scenes by their hashes.

        Stash sends the hashes of 40 scenes in one request, and answers all or nothing.

        Args:
            endpoint: The stash-box.
            ids: The scenes.
            timeout_seconds: Maximum time to wait: Stash also fetches the covers.
            covers: Whether the covers are passed on, in `RemoteSceneWithCover`.

        Returns:
            For each scene, in order, what the stash-box takes for this scene.

        Raises:
            ConfigurationError: Stash does not know the stash-box, or has a wrong key.
            Deferred: The stash-box is down or overloaded.
            ItemError: One of the scenes may be the reason for the failure.
        """
        if not ids:
            return []
        variables = {"endpoint": endpoint, "ids": wire_ids(ids)}
        try:
            # mypy infers the answer from what it is assigned to.
            operation: d.Operation[Any] = d.SCRAPE_COVERS if covers else d.SCRAPE_SCENES
            found: Sequence[Sequence[RemoteScene]] = self._one(
                operation, variables, timeout_seconds=timeout_seconds
            )
        except RefusedError as error:
            said = f"{error.what}: {error.remedy}" if error.remedy else error.what
            raise box_error(said, endpoint) from error
        if len(found) != len(ids):
            raise UnreadableError(
                f"Stash answered {len(found)} lists for {len(ids)} scenes",
                where=self.address,
                remedy=READ_LOG,
            )
        return found

    # --- its jobs --------------------------------------------------------------------

    def start_job(
        self, kind: d.JobKind, job_input: Mapping[str, Any] | None = None
    ) -> int:
        """Queue a job; return its id.

        Raises:
            ValueError: Stash would take the input for its whole library.
        """
        given = job_input or {}
        names = d.EVERYTHING_IF_EMPTY.get(kind, ())
        if names and not any(given.get(name) for name in names):
            raise ValueError(
                f"Stash would take missing or empty {names[0]} as everything"
            )
        variables = {"input": given} if names else None
        return self._one(d.START[kind], variables)

    def back_up(self, *, timeout_seconds: float) -> None:
        """Have Stash copy its database; Stash answers once the copy is complete.

        Only Stash's log says where the copy is.

        Raises:
            RefusedError: Stash could not write the copy.
        """
        self._transport.send(d.BACK_UP, timeout_seconds=timeout_seconds)

    def find_job(
        self, job_id: int, *, timeout_seconds: float | None = None
    ) -> Job | None:
        """Return the job; None if Stash forgot it or never had it.

        Stash keeps the last ten finished jobs, none across a restart, and counts ids
        from 1 again: compare `add_time` before taking it for the same job.

        Args:
            job_id: Its id.
            timeout_seconds: Wait no longer, and do not try again.
        """
        return self._transport.send(
            d.FIND_JOB, {"id": str(job_id)}, timeout_seconds=timeout_seconds
        )

    def job_queue(self, *, timeout_seconds: float | None = None) -> list[Job]:
        """Return the jobs that wait, run or are being stopped, in order."""
        queue = self._transport.send(d.JOB_QUEUE, timeout_seconds=timeout_seconds)
        return list(queue or ())

    def stop_job(self, job_id: int, *, timeout_seconds: float | None = None) -> None:
        """Ask Stash to stop a job; it may go on for half a minute.

        Stash says nothing if the job is over or unknown.
        """
        self._transport.send(
            d.STOP_JOB, {"id": str(job_id)}, timeout_seconds=timeout_seconds
        )

    # --- common ----------------------------------------------------------------------

    def _one(
        self,
        operation: d.Operation[T],
        variables: Mapping[str, Any] | None = None,
        *,
        timeout_seconds: float | None = None,
    ) -> T:
        return self._dated(operation, variables, timeout_seconds=timeout_seconds)[0]

    def _dated(
        self,
        operation: d.Operation[T],
        variables: Mapping[str, Any] | None = None,
        *,
        timeout_seconds: float | None = None,
    ) -> tuple[T, datetime | None]:
        """Return the answer, and what the server's clock said then."""
        dated = self._transport.send_dated(
            operation, variables, timeout_seconds=timeout_seconds
        )
        answer, clock = dated
        if answer is None:
            raise UnreadableError(
                f"Stash gave an empty answer to {operation.name}",
                where=self.address,
                remedy=READ_LOG,
            )
        return answer, clock

    def _rows(
        self,
        operation: d.Operation[d.Rows[T]],
        variables: Mapping[str, Any] | None = None,
    ) -> list[T]:
        return list(self._one(operation, variables).rows)


def wire_ids(ids: Sequence[int]) -> list[str]:
    """Return ids as Stash writes them."""
    return [str(id_) for id_ in ids]
