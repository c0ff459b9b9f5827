"""Taking runs out of a kelt server: `kelt export`.

Constraints
    A run is read page by page, as it is resolved: through forks, rewinds and continuations, the
    rows of a shared run's writers joined. Memory holds a page of rows (`read_pages`), whatever the
    length of the run. What is written lies under a hidden name beside its place and is moved there
    once it is whole, so a place has either nothing or all; what is there already stays, unless
    `--force` was said. What a kill leaves is named `.kelt-export-…` and may be removed.

Formats
    `jsonl`    a JSON object a row: `_step`, `_timestamp`, `_runtime`, then what was logged. NaN and
               the infinities are the bare words NaN, Infinity and -Infinity, as in Python's json.
    `csv`      a column a metric. A cell is empty where nothing, or None, was logged; NaN is NaN.
               Lists are JSON. Texts are quoted always, so "" is a text that is empty.
    `parquet`  as `csv`, typed. A value that is missing, or None, is null, and NaN is NaN. Metrics
               of values of several kinds, or of lists, are columns of JSON texts, whose field says
               so (`kelt: json`). What else is known of the run lies as JSON in the file's metadata
               under `kelt`.
    `wandb`    a run folder as W&B writes them offline (`kelt.wandb_files.writing`).

`csv` and `parquet` need all columns before the first row: the rows are written as `jsonl` into a
temporary file beside the place, and read from there again.
"""
