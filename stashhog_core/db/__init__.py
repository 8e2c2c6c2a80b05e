"""PostgreSQL: tables, connections, the embedded server, migrations, bulk writes."""
