"""What a clean-up found, and what became of it."""

from dataclasses import dataclass, field

from stashhog_core.results import CleanupResult, ItemFailure

SAMPLES = 20
"""Named of each kind of thing removed."""


@dataclass
class Findings:
    """What was removed and reconciled so far, or in a dry run would be."""

    removed: dict[str, int] = field(default_factory=dict)
    reconciled: dict[str, int] = field(default_factory=dict)
    samples: list[str] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    errors: list[ItemFailure] = field(default_factory=list)

    def remove(self, kind: str, number: int, samples: list[str]) -> None:
        """Note that so many things of a kind go; the oldest of them by name."""
        if number:
            self.removed[kind] = self.removed.get(kind, 0) + number
            self.samples += [f"{kind}: {sample}" for sample in samples[:SAMPLES]]

    def reconcile(self, kind: str, number: int) -> None:
        """Note that so many things were left open."""
        if number:
            self.reconciled[kind] = self.reconciled.get(kind, 0) + number

    def result(self, *, dry_run: bool) -> CleanupResult:
        """Return the result of the job."""
        return CleanupResult(
            status="completed_with_errors"
            if self.errors or self.blocked
            else "completed",
            dry_run=dry_run,
            removed=self.removed,
            settled=self.reconciled,
            samples=tuple(self.samples),
            held="\n".join(self.blocked) or None,
            errors=tuple(self.errors),
        )
