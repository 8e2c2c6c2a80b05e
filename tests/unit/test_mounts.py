"""The kernel's list of mounts, whatever is mounted on the machine."""

import os

import pytest

from stashhog_core.mounts import Mounts

TABLE = b"""\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 8:2 / /mnt/films rw - xfs /dev/sdb1 rw
31 30 0:50 / /mnt/films/pool rw master:2 propagate_from:3 - fuse.mergerfs 1:2 rw
32 22 0:51 / /mnt/my\\040drive rw - fuse.rclone remote: rw
33 22 0:52 / /mnt/tab\\011caf\xe9\xc2\x85x rw - tmpfs tmpfs rw
34 22 8:3 /films /srv rw - ext4 /dev/sdc1 rw
35 22 8:4 / /srv rw - btrfs /dev/sdd1 rw
36 34 8:5 / /srv/hidden rw - ext4 /dev/sde1 rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("/", 22),
        ("/home/me", 22),
        ("/mnt/films", 30),
        ("/mnt/films/pool/a", 31),
        ("/mnt/films/pooled", 30),
        ("/mnt/filmsother", 22),
        ("/mnt/my drive/a", 32),
        (os.fsdecode(b"/mnt/tab\tcaf\xe9\xc2\x85x/a"), 33),
        pytest.param("/srv/a", 35, id="the later one at a place hides the earlier"),
        pytest.param("/srv/hidden/a", 35, id="and what was mounted below that"),
    ],
)
def test_path_lies_on_the_deepest_mount_that_is_seen(path: str, number: int) -> None:
    """Names of mount points may hold any bytes; what is hidden is not there."""
    mount = Mounts(TABLE).holding(path)

    assert mount is not None
    assert mount.id == number


def test_mounts_below_a_folder() -> None:
    """Those that can be seen there, itself left out."""
    mounts = Mounts(TABLE)

    assert [mount.id for mount in mounts.below("/mnt/films")] == [31]
    assert sorted(mount.id for mount in mounts.below("/")) == [30, 31, 32, 33, 35]


def test_the_machines_own_list_is_read() -> None:
    """The root is mounted, and holds this file, or something deeper does."""
    mounts = Mounts.now()

    assert mounts is not None
    mount = mounts.holding(os.path.realpath(__file__))
    assert mount is not None
    assert os.path.realpath(__file__).startswith(mount.point)
