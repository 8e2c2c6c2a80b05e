"""Syncs a library three times and prints the most memory it took, in megabytes."""

import os
import sys

from pydantic import SecretStr

from benchmarks.measurement import peak_megabytes
from stashhog_core.db.session import Database
from stashhog_core.params import SyncParams
from stashhog_core.progress import Progress
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.sync.job import sync


def main(stash_url: str, database_url: str) -> float:
    """Sync for the first time, all again, and what differs, row by row."""
    key = SecretStr(os.environ.get("STASHHOG_TEST_STASH_API_KEY", ""))
    with StashClient(StashSettings(url=stash_url, api_key=key)) as stash:
        database = Database(database_url)
        for force in (False, True, False):
            params = SyncParams(force=force)
            sync(stash, database, params, Progress(), trigger="manual")
        database.close()
    return peak_megabytes()


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2]))
