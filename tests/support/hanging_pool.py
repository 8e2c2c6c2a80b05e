"""A program whose reader hangs on the file named: to be killed by a test."""

import sys
from pathlib import Path

from stashhog_core.file_index.pool import ProbePool
from stashhog_core.file_index.probe import ProbeRequest, Wanted
from tests.support import poisoned

if __name__ == "__main__":
    path = Path(sys.argv[1])
    facts = path.stat()
    hanging = ProbeRequest(1, str(path), facts.st_size, facts.st_mtime_ns)
    with ProbePool(Wanted(path.parent), 1, probe=poisoned.probe) as pool:
        print("probing", flush=True)
        list(pool.probe([hanging], lambda: None))
