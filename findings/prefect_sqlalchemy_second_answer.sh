#!/bin/sh
# A query that is asked twice of prefect-sqlalchemy has no rows the second time.
#
# `fetch_all(query)` fetches the rows of a query, so one expects that a second call asks
# the database again, and finds what was written since. The connector knows a query by
# its text, and goes on in the answer of the first call: behind the last row there
# is nothing. A loop that waits for new rows sees none, and a count is None instead of
# a number. Nothing warns. With one more space, the text is a new query, and after
# `reset_connections` all queries are new.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile prefect==3.9.1 \
    prefect-sqlalchemy==0.6.1
cd "$folder"
PREFECT_HOME="$folder/home" "$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector, SyncDriver

ALL, COUNT = "select title from scene", "select count(*) from scene"
films = ConnectionComponents(driver=SyncDriver.SQLITE_PYSQLITE, database="films.db")
with SqlAlchemyConnector(connection_info=films) as connector:
    connector.execute("create table scene (title text)")
    connector.execute("insert into scene values ('Garden')")
    first = connector.fetch_all(ALL), connector.fetch_one(COUNT)
    connector.execute("insert into scene values ('House')")
    second = connector.fetch_all(ALL), connector.fetch_one(COUNT)
    spaced = connector.fetch_all(ALL + " "), connector.fetch_one(COUNT + " ")
    connector.reset_connections()
    third = connector.fetch_all(ALL), connector.fetch_one(COUNT)
version = importlib.metadata.version("prefect-sqlalchemy")
print(f"prefect-sqlalchemy {version}: first {first}, after another row {second}")
print(f"with a space behind the query {spaced}, after a reset {third}")
assert first == ([("Garden",)], (1,)), first
assert second == ([], None), second
assert spaced == third == ([("Garden",), ("House",)], (2,)), spaced
PYTHON
