"""Files that were placed in the library and that no scan has followed yet."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from stashhog_core.db.models import DownloadItem


def files_awaiting_scan(session: Session, *, limit: int) -> list[str]:
    """Return local paths of placed videos that were not scanned yet, newest first."""
    query = (
        select(DownloadItem.target_path)
        .where(
            DownloadItem.state == "placed",
            DownloadItem.target_path.is_not(None),
            DownloadItem.oshash.is_not(None),
        )
        .order_by(DownloadItem.placed_at.desc().nulls_last())
        .limit(limit)
    )
    return [path for path in session.scalars(query) if path]
