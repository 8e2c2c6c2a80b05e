"""Stash's perceptual hash."""

from pathlib import Path

import numpy as np
import pytest

from stashhog_core.errors import ItemError
from stashhog_core.media.headers import header_duration
from stashhog_core.media.phash import hash_of, phash
from stashhog_core.media.sampler import Sampler
from tests.support.media import write_video

# Encoders and scalers differ in the last bit of a pixel from version to version, which
# moves the bits whose note lies at the median.
NEAR_BITS = 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "seconds", "width", "height", "rate", "recorded"),
    [
        pytest.param(0, 3, 320, 180, 10, "949d42be79fad042", id="wide"),
        pytest.param(1, 4, 640, 360, 25, "92f347153b63a295", id="larger"),
        pytest.param(2, 6, 320, 240, 12, "b074d2a79a642dce", id="4:3"),
        pytest.param(3, 5, 240, 320, 30, "c6b01f8485de665b", id="upright"),
    ],
)
def test_equals_what_stash_computed(
    tmp_path: Path,
    seed: int,
    seconds: int,
    width: int,
    height: int,
    rate: int,
    recorded: str,
) -> None:
    """The hash is the one that Stash 0.30 gave to the same clip."""
    clip = write_video(
        tmp_path / "clip.mp4",
        seconds=seconds,
        width=width,
        height=height,
        seed=seed,
        frames_per_second=rate,
    )

    with Sampler(str(clip)) as sampler:
        length = header_duration(sampler.container, sampler.stream)
        found = phash(sampler, length)

    assert (found ^ int(recorded, 16)).bit_count() <= NEAR_BITS


def test_other_pictures_have_other_hashes() -> None:
    """Unrelated sheets differ in about half of the bits."""
    random = np.random.default_rng(1)
    one, other = (
        random.integers(0, 255, (450, 800, 3), dtype=np.uint8) for _ in range(2)
    )

    assert hash_of(one) == hash_of(one.copy())
    assert (hash_of(one) ^ hash_of(other)).bit_count() > 12


def test_unknown_length_has_no_hash(tmp_path: Path) -> None:
    """Without a length there are no 25 moments to look at."""
    clip = write_video(tmp_path / "clip.mp4", seconds=1)
    with (
        Sampler(str(clip)) as sampler,
        pytest.raises(ItemError, match="unknown length"),
    ):
        phash(sampler, None)


def test_a_video_that_ends_early_has_no_hash(tmp_path: Path) -> None:
    """As in Stash; a last picture in place of the missing ones would look like many."""
    clip = write_video(tmp_path / "clip.mp4", seconds=3)

    with Sampler(str(clip)) as sampler:
        with pytest.raises(ItemError, match="no picture can be read at second"):
            phash(sampler, 5.0)

        assert phash(sampler, 3.0)
