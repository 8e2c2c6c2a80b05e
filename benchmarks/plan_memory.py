"""Applies or undoes a plan; prints processor seconds, and the most memory in MB."""

import os
import sys
import time

from pydantic import SecretStr

from benchmarks.measurement import peak_megabytes
from stashhog_core.db.session import Database
from stashhog_core.params import ApplyPlanParams, UndoParams
from stashhog_core.plans.apply import apply_plan
from stashhog_core.plans.undo import undo
from stashhog_core.progress import Progress
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient


def main(work: str, changes: int, stash_url: str, database_url: str) -> None:
    """Do the work to all changes of the only plan, which has so many."""
    key = SecretStr(os.environ.get("STASHHOG_TEST_STASH_API_KEY", ""))
    with StashClient(StashSettings(url=stash_url, api_key=key)) as stash:
        database = Database(database_url)
        if work == "apply":
            params = ApplyPlanParams(plan_id=1)
            done = apply_plan(
                stash, database, params, Progress(), create_missing_tags=True
            )
            assert done.applied == changes, done
        else:
            undone = undo(stash, database, UndoParams(plan_id=1), Progress())
            assert undone.undone == changes, undone
        database.close()


if __name__ == "__main__":
    started = time.process_time()
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
    print(time.process_time() - started, peak_megabytes())
