#!/bin/sh
# guessit takes the mark of a VR film, or a picture size without `p`, for an episode.
#
# Names of VR films say that they show 180 or 360 degrees, and many names say the height
# of the picture without a letter. So one expects that these numbers are left alone, or
# taken for a size like `1080p`. guessit makes a season and an episode of them: a film
# of 180 degrees is number 80 of season 1, and one in 2160 lines number 60 of season 21.
# All such films of a studio are one episode then. With the option `{"type": "movie"}`
# none of them has a season.
#
# Installs the pinned package into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet guessit==4.4.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

from guessit import guessit

NAMES = ("Garden_180_LR", "Garden_TB_360", "Anna Garden 1080", "Anna Garden 2160")


def episodes(**options: str) -> list[tuple[int, int] | None]:
    """Return the season and the episode of each film; None: it has none."""
    found = [guessit(f"{name}.mp4", options) for name in NAMES]
    return [
        (guess["season"], guess["episode"]) if "season" in guess else None
        for guess in found
    ]


plain, films = episodes(), episodes(type="movie")
sized = guessit("Anna Garden 1080p.mp4")
version = importlib.metadata.version("guessit")
print(f"guessit {version}: {dict(zip(NAMES, plain))}")
print(f"as films: {films}, with p: {sized['screen_size']}")
assert plain == [(1, 80), (3, 60), (10, 80), (21, 60)], plain
assert films == [None] * len(NAMES), films
assert sized["screen_size"] == "1080p" and "season" not in sized, sized
PYTHON
