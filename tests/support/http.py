"""Requests of tests to servers on loopback."""

import ssl

import httpx

NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients of servers without encryption.

httpx reads all certificates for each client, and for each request that is made without
a client: that takes more of the processor than the request.
"""

# No connection is kept, for the servers come and go.
loopback = httpx.Client(
    verify=NO_CERTIFICATES,
    trust_env=False,
    timeout=60,
    limits=httpx.Limits(max_keepalive_connections=0),
)
