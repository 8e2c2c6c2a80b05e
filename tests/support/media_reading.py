"""Reads videos as the product does: a program, since a reader of media may crash.

Prints a line for each file: its name, and what was found or the error of the file.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stashhog_core.errors import ItemError
from stashhog_core.media.frames import end_stills
from stashhog_core.media.headers import probe


def read(path: Path) -> dict[str, Any]:
    """Return what the headers and pictures of a file gave."""
    found: dict[str, Any] = {"name": path.name}
    try:
        found["facts"] = {k: str(v) for k, v in asdict(probe(path)).items()}
        found["stills"] = len(end_stills(path).stills)
    except ItemError as error:
        found["error"] = str(error)
    return found


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(json.dumps(read(Path(name))), flush=True)
