"""MLflow's stores: the folder `mlruns` of files, and the database `mlflow.db` (SQLite).

Both hold runs of experiments: parameters, tags, and metrics as points of key, value, time and step.
`mlflow_run` makes a source of a run, whichever store it is read from; `file_store` and `sql_store`
read. Deleted experiments and runs are left out. MLflow itself is not needed; for the files, PyYAML
is.

    experiment                the project
    run id, run name          run id, display name
    parameter                 config; a text that is a number, true, false or None is that
    `mlflow.note.content`     notes
    `mlflow.parentRunId`      the group
    other tags                config, if they begin with `mlflow.` (`mlflow.user` …), else a tag
                              `key:value`
    metric                    the history; a step that never changes from 0 is counted
    FINISHED, FAILED, KILLED  finished, failed, failed
    RUNNING, SCHEDULED        no end: silence is shown as such
    artifacts                 files of the run, where they lie in the store's folder (`besides`)
    inputs, models, traces    counted, and told

Points of the last minute of a run that goes on may not be all there; they wait for the next sync.
"""
