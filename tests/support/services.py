"""The services that the product's settings name in a workflow test."""

from dataclasses import dataclass
from pathlib import Path

from sandbox.samples import Sample
from sandbox.stash.server import StandIn


@dataclass(frozen=True)
class Services:
    """A stand-in Stash, its library folder, and a watch folder full of samples."""

    stash: StandIn
    downloads: Path
    library: Path
    samples: list[Sample]

    @property
    def readable(self) -> list[Sample]:
        """The samples that become scenes."""
        return [sample for sample in self.samples if not sample.is_corrupt]

    def placed(self, sample: Sample) -> Path:
        """Return where a sample comes to lie in the library."""
        return self.library / sample.path.relative_to(self.downloads)
