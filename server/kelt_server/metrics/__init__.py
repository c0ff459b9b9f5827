"""Rows and points: one interface (`store`), one engine (`duckdb_store`).

Points lie in long form, one a logged value, metric by metric within a commit. A row's step is kept
as its writer wrote it; a relative one gets its base when it is read, for only then is known where
the history that it continues ends (`kelt_server.lineage`). Rows of one (branch, writer, step) are
parts of one row, told apart by sequence number; where they name the same metric the later holds.
Relative and absolute steps are told apart in this: they are never parts of one row.
"""
