"""The catalog: facts, cursors and signs of life, in SQL.

One table a kind of fact (`tables`), filled in large transactions by one thread, read by many.
`store` is what the server needs of a catalog; `sql_catalog` is it on SQLAlchemy Core; `sqlite`
opens the file. The schema is made and changed by the Alembic migrations in `migrations`, run at
every start.
"""
