"""`python -m sandbox.stash`: the stand-in as a program of its own."""

import argparse
import signal
import sys
from pathlib import Path
from zoneinfo import ZoneInfoNotFoundError

from sandbox.sample_box import sample_box
from sandbox.samples import seed_library
from sandbox.stash.scraping import Box
from sandbox.stash.server import StandIn


def main() -> int:
    """Serve until told to stop by SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.stash", description=__doc__
    )
    parser.add_argument("--port", type=int, default=9999)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--home", type=Path, required=True, help="its own folder")
    parser.add_argument("--library", type=Path, required=True, help="folder to scan")
    parser.add_argument("--api-key", help="key that requests must carry")
    parser.add_argument("--timezone", default="UTC", help="zone of its times")
    parser.add_argument(
        "--scenes", type=int, default=0, help="fill an empty library with so many"
    )
    parser.add_argument(
        "--seed-samples",
        action="store_true",
        help="create the studios, performers and tags that the samples name",
    )
    parser.add_argument(
        "--sample-box",
        type=Path,
        metavar="FOLDER",
        help="also serve a stash-box that knows samples in this folder",
    )
    parser.add_argument("--box-port", type=int, default=0, help="of the stash-box")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        stand_in = StandIn(
            home=options.home,
            library=options.library,
            timezone=options.timezone,
            api_key=options.api_key,
            port=options.port,
            host=options.host,
            scenes=options.scenes,
        )
        stand_in.start()
    except (OSError, ZoneInfoNotFoundError) as error:
        print(f"Error: the stand-in cannot start: {error}", file=sys.stderr)
        return 1
    try:
        if options.seed_samples:
            seed_library(stand_in.store)
        if options.sample_box:
            box = sample_box(options.sample_box, options.box_port)
            box.start()
            stand_in.boxes.append(Box(box.endpoint, box.api_key, "Sample box"))
        print(f"Stand-in Stash at {stand_in.url}", flush=True)
        stand_in.join()
    except KeyboardInterrupt:
        return 0
    finally:
        stand_in.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
