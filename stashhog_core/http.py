"""What clients over HTTP share: certificates, wording faults."""

import os
import ssl
from functools import lru_cache
from pathlib import Path

import httpx

from stashhog_core.errors import ConfigurationError

# httpx reads them.
_USUAL_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def fault(error: httpx.HTTPError, request: str, limit_seconds: float) -> str:
    """Word a fault of the network, to follow the name of the server.

    `limit_seconds` is how long the answer to `request` was waited for.
    """
    if isinstance(error, httpx.DecodingError):
        return f"gave an answer to {request} that cannot be unpacked"
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return "cannot be reached"
    if isinstance(error, httpx.TimeoutException):
        return f"did not answer {request} within {limit_seconds:g} s"
    return f"broke the connection during {request}"


def tls_context(ca_file: Path | None, setting: str) -> ssl.SSLContext:
    """Return what certificates of servers are checked with.

    Args:
        ca_file: Certificates (PEM) that are trusted besides the usual ones, if any.
        setting: The variable that names the file.

    Raises:
        ConfigurationError: The file cannot be read.
    """
    if ca_file is None:
        return _usual_context(*(os.environ.get(name) for name in _USUAL_CERTIFICATES))
    context = httpx.create_ssl_context()
    try:
        context.load_verify_locations(ca_file)
    except OSError as error:
        raise ConfigurationError(
            f"{setting} names no certificates",
            where=str(ca_file),
            remedy="write certificates in PEM form into this file "
            f"({error.strerror or error})",
        ) from error
    return context


@lru_cache
def _usual_context(*_: str | None) -> ssl.SSLContext:
    """Return one context for all clients: reading the certificates takes a while."""
    return httpx.create_ssl_context()


def certificate_fault(error: BaseException) -> str | None:
    """Return why a certificate was refused, such as `self-signed certificate`."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        found = waiting.pop()
        if isinstance(found, ssl.SSLCertVerificationError):
            return str(found.verify_message)
        if isinstance(found, BaseException) and id(found) not in seen:
            seen.add(id(found))
            # urllib3 hands on its errors as arguments and as `reason`.
            waiting += [found.__cause__, found.__context__, *found.args]
            waiting.append(getattr(found, "reason", None))
    return None


def untrusted(who: str, why: str, where: str, setting: str) -> ConfigurationError:
    """Return the error for a certificate that is refused.

    `why` is what `certificate_fault` said, `where` an address without credentials, and
    `setting` the variable that names certificates to trust.
    """
    return ConfigurationError(
        f"The certificate of {who} is not trusted ({why})",
        where=where,
        remedy=f"set {setting} to a file with the certificate, or with that of the "
        "authority that signed it, in PEM form",
    )
