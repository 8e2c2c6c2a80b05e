"""A stash-box that knows two of the sample videos by their hashes."""

from pathlib import Path
from typing import Any

from sandbox.samples import ADA, BLUE_HARBOR, BRUNO, CLARA, NORTHLIGHT
from sandbox.stash.media import perceptual_hash
from sandbox.stash_box import StashBox, named, scene
from stashhog_core.hashing import oshash


def sample_box(folder: Path, port: int = 0) -> StashBox:
    """Return a stash-box that knows one scene of one sample, and two of another.

    Args:
        folder: Where the samples lie; those that are missing are not known.
        port: 0 takes a free one.
    """
    # The moving part of all samples is much the same: near hashes would match others.
    box = StashBox(port=port, phash_distance=0)
    morning, kitchen = folder / "harbor-morning.mp4", folder / "late-kitchen.mkv"
    if morning.exists():
        box.scenes.append(
            scene(
                "Harbor Morning",
                fingerprints=_hashes(morning, 4),
                duration=4,
                code="BH-017",
                date="2024-05-03",
                director="Greta Field",
                details="The boats leave the harbor before the sun is up.",
                urls=["https://blue-harbor.example/harbor-morning"],
                studio=named(BLUE_HARBOR),
                performers=[named(ADA), named("Felix Shore")],
                tags=[named("Outdoor"), named("Boats")],
            )
        )
    if kitchen.exists():
        for title, performers in (
            ("Late Kitchen", (BRUNO, CLARA)),
            ("Late Kitchen, Part Two", (CLARA,)),
        ):
            more: dict[str, Any] = {
                "studio": named(NORTHLIGHT),
                "performers": [named(name) for name in performers],
            }
            # The same opening pictures: a perceptual hash cannot tell them apart.
            hashes = [h for h in _hashes(kitchen, 3) if h[0] == "PHASH"]
            box.scenes.append(scene(title, fingerprints=hashes, duration=3, **more))
    return box


def _hashes(path: Path, seconds: int) -> list[tuple[str, str, int]]:
    return [
        ("OSHASH", oshash(path), seconds),
        ("PHASH", perceptual_hash(path), seconds),
    ]
