"""What is on this machine is asked without a proxy."""

import ipaddress
import os

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_EXCEPTIONS = ("no_proxy", "NO_PROXY")


def keep_loopback_direct() -> None:
    """Have no proxy of the environment asked for what is on this machine.

    It could not know it, and would get passwords. The variables hold for every client
    of this process, Prefect's among them, and for the processes that it starts.
    """
    # Where both are set, most programs read the first.
    given = next((os.environ[name] for name in _EXCEPTIONS if name in os.environ), "")
    hosts = [host.strip() for host in given.split(",") if host.strip()]
    if "*" in hosts:
        return
    hosts += [host for host in _LOOPBACK if host not in hosts]
    os.environ.update(dict.fromkeys(_EXCEPTIONS, ",".join(hosts)))


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
