"""What a worker of a run's own Dask cluster does first; Dask calls it by its name."""

import os


def dask_setup(_worker: object) -> None:
    """Leave the run's process group.

    A run is cancelled as a group, and Ctrl-C reaches a group: the worker would be gone
    before its tasks could finish what they are at. It ends with the run all the same.
    """
    os.setpgrp()
