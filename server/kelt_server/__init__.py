"""The server: takes what daemons push, keeps it in one folder, and answers questions about it.

The folder holds `catalog.sqlite` (who, what, when: one fact a row, as the records said it),
`metrics.duckdb` (rows and points) and `server.lock`. Records are facts and never rewritten;
branches, names, config, summary and states are resolved from them when they are read, by pure
modules (`lineage`, `branch_names`, `config_history`, `summary`, `liveness`), so the order in which
records of different writers arrive changes nothing.

Each store keeps, in the transaction that writes the data, a cursor per writer, and skips what it
already has; the acknowledgement is the smaller of the two. A store that was set aside as damaged
therefore fills up again by itself from the journals of the daemons.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("kelt")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"
