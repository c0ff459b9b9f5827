"""What Neptune's exporter wrote: Parquet files, a folder a project, some parts a run.

The file
    `<run>_part_<n>.parquet`, or `part_<n>.parquet` with many runs in it. A row is one value:

        project_id, run_id, attribute_path, attribute_type   texts
        step                                                 decimal(18, 6)
        timestamp                                            timestamp(ms, UTC)
        int_value, float_value, string_value, bool_value, datetime_value, string_set_value
        file_value, histogram_value                          structs

What comes of it
    `float_series`, `string_series` and `histogram_series` (of counts, as W&B's client has them) are
    the history. `float`, `int`, `string`, `bool`, `datetime`
    and `string_set` are config, by their paths. `sys/name`, `sys/description`, `sys/tags` and
    `sys/group_tags` are the display name, the notes and the tags too; `sys/failed` is the end.
    Files are counted.

    Steps may be fractions there. Where any of a project's folder is, all of its steps are taken
    times the smallest power of ten that makes them whole, so that forks fit their parents.

    A run that was forked (`sys/forking/parent`, `sys/forking/step`) is a fork here; its parent may
    come later, or never.
"""
