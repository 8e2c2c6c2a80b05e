"""Cassettes: answers of a real server, recorded once and played ever after."""

from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import vcr

FOLDER = Path(__file__).parents[1] / "cassettes"


def recorder(
    address: str, kept_headers: Collection[str], record_from: str | None
) -> Any:
    """Return what opens cassettes; keys and addresses are left out of them.

    Args:
        address: What stands for the server in the cassettes.
        kept_headers: Names of the headers of answers that are kept, in lower case.
        record_from: The server to record from, the cassettes being deleted first;
            None: they are played.
    """

    def neutral_request(request: Any) -> Any:
        parts = urlsplit(request.uri)
        request.uri = urlunsplit(parts._replace(netloc=urlsplit(address).netloc))
        request.headers = {}
        return request

    def neutral_response(response: dict[str, Any]) -> dict[str, Any]:
        response["headers"] = {
            name: value
            for name, value in response["headers"].items()
            if name.lower() in kept_headers
        }
        body = response.get("body", {}).get("string")
        if record_from and isinstance(body, bytes):
            response["body"]["string"] = body.replace(
                record_from.encode(), address.encode()
            )
        return response

    return vcr.VCR(
        cassette_library_dir=str(FOLDER),
        path_transformer=vcr.VCR.ensure_suffix(".yaml"),
        record_mode="all" if record_from else "none",
        match_on=["method", "uri", "body"],
        decode_compressed_response=True,
        before_record_request=neutral_request,
        before_record_response=neutral_response,
    )
