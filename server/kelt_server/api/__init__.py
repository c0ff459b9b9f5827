r"""The API: what the routes take and answer. Clients are written against this page.

All routes lie under `/api/v1` and answer JSON (UTF-8); those that name no method are GET. Times are
Unix seconds (float) or null, steps are integers. `{run}` is a run id or an immutable id; `{entity}`
may be `-`: the entity of the user whose key it is, without users the server's default one. Where
keys are wanted, every route but `/info` wants `Authorization: Bearer KEY`.

Errors are `{"error": sentence}`: 400 (an argument does not fit), 401 (no key, or the wrong one),
403 (the key does not open it), 404 (no such run), 409 (nothing of the run runs), 503 (the server is
stopping, or a store cannot be read).

Values
    JSON has no NaN and no infinities. Wherever a logged, configured or summarised value stands,
    a float that is not finite is written `{"$float": "NaN"}`, `{"$float": "Infinity"}` or
    `{"$float": "-Infinity"}`, inside lists and objects too. Floats are written with a point or an
    exponent (`1.0`), integers without, of any size: parse with a parser that keeps both apart
    (Python's `json` does). A text may hold escaped lone surrogates (`"\ud800"`). `null` is a
    logged None; a key that was not logged is absent.

`/info`
    {"version", "protocol", "protocol_min", "server_id", "grpc_port", "default_entity",
     "auth_required": bool, "damaged_files": [{"path", "moved_to", "reason"}],
     "counters": {name: int}}

`/projects`
    {"projects": [{"entity", "project", "runs": int, "last_started_at"}]}

`/runs?entity=&project=&filters=&order=&offset=0&limit=100&columns=`
    {"runs": [RUN, …], "total": int}. `entity` defaults to the server's, `*` is all that
    the key opens; without `project`, all of the entity's. One entry for each name (archived
    branches are not listed). `limit` is at most 1000. `filters` is a JSON object in MongoDB's
    manner: {path: value} or {path: {operator: operand}} with $eq $ne $gt $gte $lt $lte $in $nin
    $exists $regex $not, joined by $and $or $nor; patterns of $regex are RE2's. `order` is
    `-created_at` (default) or `+path`/`path`/`-path`, several joined by commas; runs without a
    value come last.
    Paths: state, reason, name, display_name, run_id, immutable_id, created_at, started_at,
    heartbeat_at, runtime, rows, last_step, tags, group, job_type, notes, host, `config.a.b` (also
    `config.a.value`), `summary.x` (also `summary_metrics.x`). `tags` matches where any tag does.
    `columns` (a list of such paths joined by commas, or `column=` repeated) leaves of each RUN
    these alone, beside entity, project, run_id, immutable_id and name; values of config and summary
    under their paths as they were asked for (`"config": {"a.b": 1}`).

`/runs/{entity}/{project}/{run}` and `/branches/{immutable_id}`
    RUN

RUN
    {"entity", "project", "run_id", "immutable_id", "name", "notes", "group", "job_type",
     "tags": [str],
     "state": "running" | "finished" | "failed" | "crashed" | "killed", "reason": str, "state_at",
     "offline_since",               null, or since when a running one has been silent
     "created_at", "started_at",    of the run; of its newest session
     "heartbeat_at",                the last sign of life that the server saw
     "runtime",                     seconds, of the last row; null without rows
     "rows": int, "last_step": int, of the whole history; last_step is -1 without rows
     "kind": "created" | "forked" | "rewound" | "continued" | "resumed" | "orphan",
                                    how the branch began; "resumed": its beginning has not arrived,
                                    "orphan": its opening record was lost; also "shared": written
                                    by many at a time
     "is_asked_to_stop": bool,      somebody asked it to stop, and it still runs
     "is_archived": bool, "held_by":    immutable id of the branch that its name points at
     "lineage": [{"immutable_id", "entity", "project", "run_id", "fork_step", "kind",
                  "known": bool, "is_deleted": bool}],
                                    ancestors, nearest first; `kind` (forked, rewound, continued)
                                    is how it was left, `fork_step` the last step inherited; of a
                                    deleted one that is not known, the rows went before this came
     "archived": [immutable id],    branches of this name that no longer hold it
     "config": {…},                 one value for each top-level key
     "summary": {…},                flat: nested keys are joined with dots; also _step, _timestamp
                                    and _runtime of the last row
     "definitions": [{"name", "step_metric", "summary", "goal", "hidden"}],
     "losses": [{"writer_id", "first_seq", "last_seq", "rows", "reason"}], "lost_rows": int,
     "rows_step_went_down": int,
     "problems": [sentence],        what could not be settled, and what is odd
     "host": str,                   of the session whose state is the run's: the newest, or of
                                    writers that share the run their newest primary
     "labels": [str],               of the writers of a shared run, in the order of their start
     "sessions": [{"writer_id", "immutable_id", "hostname", "pid", "program", "python",
                   "sdk_version",
                   "started_at", "state", "reason", "state_at", "offline_since", "heartbeat_at",
                   "is_asked_to_stop": bool,
                   "is_shared": bool, "is_primary": bool, "label": str,
                   "rows": int, "last_step": int, "last_row_at"}]}
                                    newest first; the last six: one of several writers at a time,
                                    and what it logged of the history

`/runs/{entity}/{project}/{run}/archived`
    {"runs": [RUN, …]}: the archived branches of this name, newest first.

`/runs/{entity}/{project}/{run}/forks?offset=0&limit=100`
    {"runs": [RUN, …], "total": int}: what was forked from any branch of this name, newest first, as
    it stands now; of an archived branch, from that alone. `limit` is at most 1000. Where in its
    `lineage` a fork left this run, the kind is "forked".

`/runs/{entity}/{project}/{run}/history?keys=&label=&min_step=&max_step=&limit=&after=&samples=
&format=`
    Rows in the order of (step, then the line of descent, then session, then sequence). The calls
    that made one row (same writer, branch and step) are merged: for each key the later call
    holds. `min_step` and `max_step` are inclusive. `limit` is at most 10000. `keys` (repeated, or
    one list joined by commas) keeps the rows that have all of the keys, and of each row only
    these; keys with commas must be given by repeating `key=`. `_step`, `_timestamp`, `_runtime`
    in `keys` are ignored. `label` takes the rows of the writers with that label alone. Writers of a
    shared run have rows of their own, also at the same step: nothing of them is merged here.
    `samples=N` takes at most N of the rows, evenly, and ends there;
    `limit` and `after` are then ignored.

    {"rows": [{"step": int, "timestamp", "runtime", "flags": [str], "immutable_id", "writer_id",
               "label": str, "values": {key: value}}], "next": str | null}

    `flags`: "step_went_down" (below a step that its writer logged before), "partial" (only ever
    logged with commit=False). `immutable_id` is the branch that the row was logged on, `label` the
    writer's in a shared run, else empty. Ask again
    with `after=` the `next` of the last page, all else the same, until `next` is null.

    `format=arrow`: one Arrow IPC stream, a record a row, with the columns

        step int64, timestamp float64, runtime float64, flags uint32 (2 step_went_down, 4 partial),
        immutable_id utf8, writer_id utf8,
        cells list<struct<key int32, kind uint8, value float64, text utf8 (nullable)>>

    and in the schema's metadata under `kelt` the JSON {"keys": [str], "next": str | null,
    "labels": {writer_id: str}}.
    `cells.key` counts into `keys`. By `kind`:

        1 float   value (NaN and infinities as they are)
        2 int     text in decimal where not null (beyond ±2**53), else value
        3 bool    value is 0 or 1
        4 None
        5 text    text
        6 JSON    text, with the bare words NaN, Infinity and -Infinity (Python's json.loads)
        7 text    as JSON, because it holds lone surrogates

`/runs/{entity}/{project}/{run}/buckets?key=loss&key=acc&label=&buckets=1000&min_step=&max_step=`
    Minimum, maximum and mean of the numbers (booleans count as 0 and 1) of each key, by equal
    ranges of steps over the asked range, or over the history's where not given. Empty buckets are
    left out.

    {"min_step", "max_step", "width": int,
     "keys": {key: [{"from": step, "to": step, "count": int, "nan": int, "min", "max", "mean"}]}}

    `count` is of the numbers that are not NaN, `nan` of those that are; with `count` 0 the other
    three are null. `format=arrow` gives the columns key utf8, from int64, to int64, count int64,
    nan int64, min, max, mean float64 (null where count is 0).

`/bands?entity=&project=&run=a&run=b&filters=&group_by=&key=loss&buckets=1000&min_step=&max_step=
&quantiles=0.25,0.5,0.75`
    Several runs in one chart: the named ones, or all of the project that pass `filters` (as of
    `/runs`), at most 1000 (more are refused). `group_by` takes paths as `order` does, joined by
    commas, and makes a group for each combination of their values (`group_by=run_id`: every run for
    itself); else all are one group. Steps are divided as of `buckets`, for all runs alike.

    {"min_step", "max_step", "width": int, "quantiles": [float],
     "groups": [{"by": {path: value}, "runs": [immutable id],
                 "keys": {key: [{"from": step, "to": step, "runs": int, "count": int, "nan": int,
                                 "min", "max", "mean", "std", "quantiles": [float]}]}}]}

    `runs` of a bucket is how many of the group's runs have numbers in it; `mean`, `std` (of a
    sample; null for one run, and where a mean is not finite or beyond 1e150) and `quantiles` are of
    those runs' means in the bucket, each run counting once; `min` and `max` of all numbers, so that
    spikes stay. `format=arrow` gives these as the columns group int32, key, from, to, runs, count,
    nan, min, max, mean, std, quantiles list<float64>, and in the metadata under `kelt` the JSON
    {"groups": [{"by", "runs"}], "quantiles"}.

`/runs/{entity}/{project}/{run}/keys?label=`
    {"keys": [str]}: every key of the history, sorted.

`stream=system` with `history`, `buckets` and `keys` asks for the system samples of the run's own
branch: what was measured of its machine. They have no steps; in their place stands the millisecond
of Unix time, by which they are ordered, paged and divided. `label` is then not looked at.

`/runs/{entity}/{project}/{run}/console?last=&limit=&after=&begin=&label=&format=`
    Lines of the console of the run's own branch, in the order of session, then number: the first
    `limit` (at most 10000), those after a place, or the `last` so many. Of each writer the newest
    100,000 lines and 32 Mi characters are kept.

    {"lines": [{"number": int, "stream": "stdout" | "stderr", "at": seconds | null, "text": str,
                "label": str, "immutable_id", "writer_id"}],
     "next": str | null, "last": str | null, "total": int, "dropped": int}

    Ask again with `after=` the `next` until it is null. `last` is the place of the last line that
    was given; `begin=` it asks for that line, which may be written over, and what follows.
    `total` lines are kept, `dropped` were let go. A line that was written over (a progress bar) has
    its latest text. `format=arrow` gives the same columns, and the rest as JSON in the metadata
    under `kelt`.

`/runs/{entity}/{project}/{run}/files?offset=0&limit=1000` and `…/files/{path}`
    {"files": [{"path", "size_bytes": int, "sha256": str or null, "changed_at": seconds or null}],
     "total": int}: the run's files by path, those that wandb's clients put for its name and those
    that came as records; and what is in one of them, as bytes. `limit` is at most 10000.

`/runs/{entity}/{project}/{run}/artifacts`
    {"logged": [ARTIFACT], "used": [ARTIFACT]}. An artifact whose content was there before is the
    version that was there.

`/artifacts/{entity}/{project}/{name}?offset=0&limit=1000` and `…/{name}/files/{path}`
    ARTIFACT, with "used_by": [{"entity", "project", "run_id"}] and "files": [{"path",
    "size_bytes": int, "digest", "ref": uri or null, "of": {"artifact", "path"} or null}] by path;
    and what is in one of its files, as bytes. `{name}` is `collection:alias`, `collection:v3`, or a
    collection for its latest version. `of` is what a `wandb-artifact://` reference leads to, if
    that is there and open to who asks: its bytes are then fetched like a file's.

`/artifacts/{entity}/{project}` and `/artifacts/{entity}/{project}/{name}/versions`
    {"collections": [{"entity", "project", "name", "type", "description", "tags", "created_at"}]} by
    name, and {"versions": [ARTIFACT]}, the newest first.

`PATCH /artifacts/{entity}/{project}/{name}`
    Changes what is said of a version: {"description", "metadata", "tags": [str], "ttl_s" (null: for
    ever), "add_aliases": [str], "delete_aliases": [str]}, each as far as it is there; ARTIFACT.

`DELETE /artifacts/{entity}/{project}/{name}?with_aliases=true`
    Deletes a version: ARTIFACT. One that has aliases is refused (400) without `with_aliases`.

ARTIFACT
    {"id", "entity", "project", "name", "type", "version": "v0", "aliases": [str], "tags": [str],
     "state", "digest", "description", "metadata": {…}, "size_bytes": int, "file_count": int,
     "created_at", "updated_at", "ttl_s": int or null,
     "logged_by": {"entity", "project", "run_id"} or null}

`DELETE /runs/{entity}/{project}/{run}`
    Deletes the run with every branch of its name and its files: {"entity", "project", "run_id",
    "branches": int, "kept_for_others": int}. Branches of other names keep what they inherit. An
    archived branch is refused (400): it goes with its run.

`POST /runs/{entity}/{project}/{run}/stop`
    Asks the run's processes to stop: {"entity", "project", "run_id", "asked": int}.

`POST /runs/{entity}/{project}/{run}/uses/{of_entity}/{of_project}/{name}`
    Remembers that the run, which may be on its way still, uses an artifact: ARTIFACT.

`/viewer`
    {"user": name or null, "entity", "teams": [name], "is_admin": bool}: who asks.

`/users`, `/teams`
    {"users": [{"name", "is_admin", "made_at", "teams": [name], "keys": [{"id", "made_at"}]}]} and
    {"teams": [{"name", "made_at", "members": [name]}]}; to who is no admin, what is theirs.

`POST /users` {"name", "is_admin": false, "key"?}, `POST /users/{user}/keys` {"key"?}
    201: the user, or the key's id, with "key" where it was made: it cannot be had again.
    `DELETE /users/{user}` and `DELETE /users/{user}/keys/{id}`: 204.

`POST /teams` {"name"}, `PUT /teams/{team}/members/{user}`
    201 and 200: the team. `DELETE /teams/{team}`: 204; `DELETE /teams/{team}/members/{user}`: 200.
    All but one's own keys is an admin's to change.

`/openapi.json` (at the root, not under /api/v1) describes all of this for machines.
"""
