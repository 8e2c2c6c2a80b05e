"""A program that scans a folder: to be killed by a test."""

import sys
from pathlib import Path

from stashhog_core.db.session import Database
from stashhog_core.file_index.job import scan_directory
from stashhog_core.params import DirectoryScanParams
from stashhog_core.progress import Progress
from stashhog_core.settings import LibrarySettings, Settings

if __name__ == "__main__":
    url, folder, home = sys.argv[1:]
    result = scan_directory(
        Settings(
            home=Path(home), library=LibrarySettings(allowed_scan_roots=(Path(folder),))
        ),
        Database(url),
        DirectoryScanParams(path=folder, workers=2),
        Progress(lambda _, message: print(message, flush=True)),
    )
    print(result.model_dump_json())
