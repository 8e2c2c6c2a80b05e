"""The server's clock: its time zone, and the text it stores times as."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from time import time_ns
from zoneinfo import ZoneInfo

_NANOSECONDS = 1_000_000_000


class Clock:
    """Tells the time as a server in one time zone writes it.

    Args:
        timezone: IANA name, such as `America/New_York`.

    `timezone` and `offset` may be changed while the server runs, as when a machine is
    moved or its clock is set.
    """

    def __init__(self, timezone: str = "UTC") -> None:
        self.timezone = ZoneInfo(timezone)
        self.offset = timedelta()

    def now(self) -> str:
        """Return the time as rows store it: local, to the second."""
        return self.text(datetime.now(UTC) + self.offset)

    def text(self, moment: datetime) -> str:
        """Return an aware time as rows store it."""
        return _zulu(moment.astimezone(self.timezone).isoformat(timespec="seconds"))

    def from_timestamp(self, seconds: float) -> str:
        """Return a file's time as rows store it."""
        return self.text(datetime.fromtimestamp(int(seconds), UTC))

    def now_exactly(self) -> str:
        """Return the time as jobs show it: local, to the nanosecond."""
        seconds, fraction = divmod(time_ns(), _NANOSECONDS)
        moment = datetime.fromtimestamp(seconds, UTC) + self.offset
        text = self.text(moment)
        digits = f"{fraction:09d}".rstrip("0")
        return f"{text[:19]}.{digits}{text[19:]}" if digits else text

    def http_date(self) -> str:
        """Return the time as HTTP's `Date` header has it: GMT, to the second."""
        return format_datetime(datetime.now(UTC) + self.offset, usegmt=True)

    def utc_now(self) -> str:
        """Return the time as play and o histories store it: always UTC."""
        moment = datetime.now(UTC) + self.offset
        return _zulu(moment.isoformat(timespec="seconds"))


def _zulu(text: str) -> str:
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text
