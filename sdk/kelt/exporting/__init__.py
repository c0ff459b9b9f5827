"""Taking runs out of a kelt server: `kelt export`.

Constraints
    A run is read page by page, as it is resolved: through forks, rewinds and continuations, the
    rows of a shared run's writers joined; in Arrow where pyarrow is there, else in JSON. Memory
    holds a page and a row group, whatever the length of the run. What is written lies under a
    hidden name beside its place and is moved there once it is whole, so a place has either nothing
    or all; what is there already stays, unless `--force` was said, and is passed over with
    `--skip-existing`. What a kill leaves is named `.kelt-export-…` and may be removed.

Formats
    A run is a folder with `run-facts.json`: RUN of the read API, as strict JSON written as that
    writes it, and the names of artifacts. For tables `history.FORMAT`, and, if they were asked for,
    `system.FORMAT`, `console.jsonl` and `files/`.

    `jsonl`    a JSON object a row: `_step`, `_timestamp`, `_runtime`, then what was logged. NaN and
               the infinities are the bare words NaN, Infinity and -Infinity, as in Python's json.
    `csv`      a column a metric. A cell is empty where nothing, or None, was logged; NaN is NaN.
               Lists are JSON. Texts are quoted always, so "" is a text that is empty.
    `parquet`  as `csv`, typed. A value that is missing, or None, is null, and NaN is NaN. Metrics
               of values of several kinds, or of lists, are columns of JSON texts, whose field says
               so (`kelt: json`). The facts lie in the file's metadata under `kelt`, too.
    `wandb`    a run folder as W&B writes them offline (`kelt.wandb_files.writing`), with files,
               console and system samples.

`csv` and `parquet` need all columns before the first row: rows wait as `jsonl`, pages of Arrow as
they came, in a temporary file beside the place, and are read from there again.
"""
