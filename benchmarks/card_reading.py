"""Reads title cards in a process that imports this build, or the build b52c565.

Reads paths from standard input as JSON, and writes for each of them the seconds of
processor time and the output, and once the most memory the process took in megabytes.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

try:
    from stashhog_core.detection.ocr import load_ocr
    from stashhog_core.detection.scene_facts import PrimaryFile, SceneFacts
    from stashhog_core.detection.title_cards import TitleCards
except ImportError:
    # b52c565: this file runs with the folder of that build first in the search path.
    from stashhog_core.analysis.scenes import (  # type: ignore[import-not-found,no-redef]
        FileFacts as PrimaryFile,
    )
    from stashhog_core.analysis.scenes import (  # type: ignore[import-not-found,no-redef]
        SceneFacts,
    )
    from stashhog_core.analysis.text_recognition import (  # type: ignore[import-not-found]
        text_reader as load_ocr,
    )
    from stashhog_core.analysis.title_cards import (  # type: ignore[import-not-found,no-redef]
        TitleCards,
    )
from stashhog_core.paths import PathMap


def main() -> None:
    """Read the title cards of all videos, one after the other."""
    reader: Any = TitleCards(load_ocr(), PathMap({}))
    read = reader.read if hasattr(reader, "read") else reader.look
    videos: list[dict[str, Any]] = []
    for number, path in enumerate(json.load(sys.stdin)):
        file = PrimaryFile(path, 60.0, 640, 360, 25.0, "h264", "aac", None)
        started = time.process_time()
        output = read(SceneFacts(id=number, file=file))
        videos.append({"seconds": time.process_time() - started, **output})
    # `getrusage` also counts what the process was before it became this program.
    status = dict(
        line.split(":", 1)
        for line in Path("/proc/self/status").read_text().splitlines()
    )
    megabytes = int(status["VmHWM"].split()[0]) / 1000
    json.dump({"videos": videos, "megabytes": megabytes}, sys.stdout)


if __name__ == "__main__":
    main()
