"""A program whose reader hangs on the file named: to be killed by a test."""

import sys
from pathlib import Path

from stashhog_core.file_index.pool import ExaminerPool
from stashhog_core.file_index.probe import Request, Wanted
from tests.support import poisoned

if __name__ == "__main__":
    path = Path(sys.argv[1])
    facts = path.stat()
    hanging = Request(1, str(path), facts.st_size, facts.st_mtime_ns)
    with ExaminerPool(Wanted(path.parent), 1, look=poisoned.look) as pool:
        print("looking", flush=True)
        list(pool.examine([hanging], lambda: None))
