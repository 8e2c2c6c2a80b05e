"""What the product asks of a Stash server, one method per question.

Ids are integers. Lists are never sent empty: Stash takes an empty list of scenes or
paths as "all of them".
"""

from collections.abc import Mapping, Sequence
from typing import Any

from stashhog_core.errors import ConfigurationError, JobError, TransientError
from stashhog_core.stash import documents as d
from stashhog_core.stash.payloads import Job, LogEntry, Performer, Studio, Tag
from stashhog_core.stash.reading import StashReader, wire_ids

SCALAR_FIELDS = frozenset(
    {
        "title",
        "code",
        "details",
        "director",
        "date",
        "rating100",
        "organized",
        "studio_id",
        "urls",
    }
)
"""What `update_scene` may set. Sets of tags and so on would be replaced whole."""


class StashClient(StashReader):
    """A Stash server. Close it, or use it in a `with` statement.

    Every method raises `ConfigurationError` (wrong key), `TransientError` (no answer)
    or `JobError` (an error as the answer). Reads ride out short outages by themselves;
    writes are sent once, and it is for the caller to look what became of them.

    Args:
        settings: Address, key, time limit.
        transport: What carries the requests; None: the network.
        retry_delays_seconds: Pauses before a read is tried again.
    """

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

    def recent_log(self) -> list[LogEntry]:
        """Return the last lines of Stash's log, the newest first: about 30."""
        lines = self._transport.send(d.RECENT_LOG)
        return list(lines or ())

    def scan_rules(self) -> d.ScanRules:
        """Return which files Stash's scan takes as videos."""
        return self._one(d.SCAN_RULES).general

    # --- its jobs --------------------------------------------------------------------

    def start_scan(self, scan_input: Mapping[str, Any]) -> int:
        """Queue a metadata scan; return the job's id."""
        _never_empty(scan_input, "paths")
        return self._one(d.START_SCAN, {"input": scan_input})

    def start_generate(self, generate_input: Mapping[str, Any]) -> int:
        """Queue a generate job; return the job's id."""
        _never_empty(generate_input, "sceneIDs", "markerIDs")
        return self._one(d.START_GENERATE, {"input": generate_input})

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

    # --- writing ---------------------------------------------------------------------

    def bulk_update_scenes(
        self,
        ids: Sequence[int],
        *,
        add_tag_ids: Sequence[int] = (),
        remove_tag_ids: Sequence[int] = (),
        add_performer_ids: Sequence[int] = (),
        remove_performer_ids: Sequence[int] = (),
        studio_id: int | None = None,
    ) -> None:
        """Add, remove and set the same values in many scenes.

        What is added and set comes about for all scenes or none; so does what is
        removed, in a second step. Doing it again changes nothing more.
        """
        if not ids:
            raise ValueError("bulk_update_scenes needs at least one scene")
        added = _id_sets("ADD", add_tag_ids, add_performer_ids)
        if studio_id is not None:
            added["studio_id"] = str(studio_id)
        removed = _id_sets("REMOVE", remove_tag_ids, remove_performer_ids)
        for change in (added, removed):
            if change:
                update = {"ids": wire_ids(ids), **change}
                self._one(d.BULK_UPDATE_SCENES, {"input": update})

    def update_scene(self, scene_id: int, fields: Mapping[str, Any]) -> None:
        """Set fields of a scene by Stash's names; None clears a field.

        Raises:
            ValueError: A field is a set (tags, performers): it would be replaced.
        """
        if refused := fields.keys() - SCALAR_FIELDS:
            raise ValueError(f"update_scene does not set {', '.join(sorted(refused))}")
        update = {"id": str(scene_id), **fields}
        self._one(d.UPDATE_SCENE, {"input": update})

    def create_tag(self, name: str) -> Tag:
        """Create a tag.

        Raises:
            JobError: The name, or an alias of this name, is taken.
        """
        return self._one(d.CREATE_TAG, {"input": {"name": name}})

    def create_performer(self, name: str) -> Performer:
        """Create a performer.

        Raises:
            JobError: The name is taken.
        """
        return self._one(d.CREATE_PERFORMER, {"input": {"name": name}})

    def create_studio(self, name: str) -> Studio:
        """Create a studio.

        Raises:
            JobError: The name is taken.
        """
        return self._one(d.CREATE_STUDIO, {"input": {"name": name}})

    def create_marker(
        self,
        *,
        scene_id: int,
        title: str,
        seconds: float,
        primary_tag_id: int,
        tag_ids: Sequence[int] = (),
        end_seconds: float | None = None,
    ) -> int:
        """Create a marker; return its id. Stash takes the same marker twice."""
        marker = {
            "scene_id": str(scene_id),
            "title": title,
            "seconds": seconds,
            "end_seconds": end_seconds,
            "primary_tag_id": str(primary_tag_id),
            "tag_ids": wire_ids(tag_ids),
        }
        return self._one(d.CREATE_MARKER, {"input": marker}).id

    def destroy_markers(self, ids: Sequence[int]) -> None:
        """Delete markers, all or none."""
        if not ids:
            raise ValueError("destroy_markers needs at least one marker")
        self._one(d.DESTROY_MARKERS, {"ids": wire_ids(ids)})

    def destroy_tag(self, tag_id: int) -> None:
        """Delete a tag.

        Raises:
            JobError: It is unknown, or the primary tag of a marker.
        """
        self._one(d.DESTROY_TAG, {"id": str(tag_id)})


def _id_sets(
    mode: str, tag_ids: Sequence[int], performer_ids: Sequence[int]
) -> dict[str, Any]:
    sets = {"tag_ids": tag_ids, "performer_ids": performer_ids}
    return {
        name: {"ids": wire_ids(ids), "mode": mode} for name, ids in sets.items() if ids
    }


def _never_empty(job_input: Mapping[str, Any], *names: str) -> None:
    if not any(job_input.get(name) for name in names):
        raise ValueError(f"Stash would take missing or empty {names[0]} as everything")
