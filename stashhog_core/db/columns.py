"""The base of all tables, and the kinds of columns they are made of.

Stash's ids are decimal strings on the wire and integers everywhere in here.
"""

from datetime import datetime
from typing import Annotated, Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    MetaData,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, MappedColumn, mapped_column

StashId = Annotated[
    int, mapped_column(BigInteger, primary_key=True, autoincrement=False)
]
RowId = Annotated[int, mapped_column(BigInteger, Identity(), primary_key=True)]
Words = Annotated[str, mapped_column(Text, server_default="")]
Flag = Annotated[bool, mapped_column(server_default=text("false"))]
Count = Annotated[int, mapped_column(BigInteger, server_default=text("0"))]
Duration = Annotated[float, mapped_column(Double, server_default=text("0"))]
Names = Annotated[
    list[str], mapped_column(ARRAY(Text), server_default=text("'{}'::text[]"))
]
Records = Annotated[
    list[dict[str, Any]], mapped_column(JSONB, server_default=text("'[]'::jsonb"))
]
Facts = Annotated[
    dict[str, Any], mapped_column(JSONB, server_default=text("'{}'::jsonb"))
]
Moment = Annotated[datetime, mapped_column(DateTime(timezone=True))]
Now = Annotated[
    datetime, mapped_column(DateTime(timezone=True), server_default=func.now())
]
Key = Annotated[str, mapped_column(Text, primary_key=True)]


class Base(DeclarativeBase):
    """Base of all tables."""

    # Migrations name what they change, so every constraint needs a known name.
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def reference(
    table: str,
    *,
    ondelete: str = "CASCADE",
    primary_key: bool = False,
    index: bool = False,
) -> MappedColumn[Any]:
    """Return a column with the id of a row of another table.

    `ondelete` says what becomes of this row when the other one is deleted.
    """
    key = ForeignKey(f"{table}.id", ondelete=ondelete)
    return mapped_column(BigInteger, key, primary_key=primary_key, index=index)
