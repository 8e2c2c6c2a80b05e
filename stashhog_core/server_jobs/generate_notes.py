"""What is noted with a generate job of the server, to judge its outcome by."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from stashhog_core.db.generated import media_basis
from stashhog_core.params import StashGenerateParams
from stashhog_core.server_jobs.generate_request import Chunk
from stashhog_core.server_jobs.tracking import ServerJob

_BASIS = "basis"


def to_note(session: Session, chunk: Chunk) -> dict[str, Any]:
    """Return what a job is asked for, and what its scenes' media will be made of.

    Read before the job starts: whatever changes later may come too late for it.
    """
    noted = chunk.params.model_dump(
        mode="json", by_alias=True, exclude={"scene_ids", "marker_ids"}
    )
    if chunk.marker_ids:
        noted["markerIDs"] = list(chunk.marker_ids)
    if chunk.tracked:
        basis = media_basis(session, chunk.tracked)
        noted[_BASIS] = [basis.get(scene_id) for scene_id in chunk.tracked]
    return noted


def asked_of(server_job: ServerJob) -> StashGenerateParams | None:
    """Return what a job was asked for; None: that was not noted."""
    asked = {k: v for k, v in (server_job.asked or {}).items() if k != _BASIS}
    return StashGenerateParams.model_validate(asked) if asked else None


def basis_of(server_job: ServerJob) -> Mapping[int, int]:
    """Return what the media of a job's scenes was made of, as far as it was noted."""
    noted = (server_job.asked or {}).get(_BASIS)
    if noted is None:
        return {}
    rows = zip(server_job.scene_ids, noted, strict=True)
    return {scene_id: basis for scene_id, basis in rows if basis is not None}
