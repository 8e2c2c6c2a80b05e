"""What the results of all jobs have in common."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

from stashhog_core.redaction import without_secrets

JobStatus = Literal["completed", "completed_with_errors", "failed", "cancelled"]
SUCCESSFUL: tuple[JobStatus, ...] = ("completed", "completed_with_errors")
"""How a run ends that has done its work, perhaps without some of the items."""


class Result(BaseModel):
    """Base of all results."""

    model_config = ConfigDict(frozen=True)


Reason = Annotated[str, AfterValidator(without_secrets)]
"""The reason of a failure, without secrets, so that it may be stored and shown."""


class ItemFailure(Result):
    """One item that failed, while the run continued with the other items."""

    item: str
    reason: Reason


class CancelledResult(Result):
    """The result of a run that was cancelled."""

    status: JobStatus = "cancelled"
    message: str = ""


class FailedResult(Result):
    """The result of a run that failed before its job had a result."""

    status: JobStatus = "failed"
    error: Reason
