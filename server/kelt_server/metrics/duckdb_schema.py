"""The tables of `metrics.duckdb`. `meta.format` rises when they change."""
# ruff: noqa: S608 # built of the constants below alone

#: 2 has the table `packed`; format 1 gets it when it is opened.
FORMAT = 2

_POINT = """
    branch INTEGER NOT NULL, metric INTEGER NOT NULL, writer INTEGER NOT NULL,
    relative TINYINT NOT NULL, step BIGINT NOT NULL, seq BIGINT NOT NULL,
    kind TINYINT NOT NULL, value DOUBLE NOT NULL, text VARCHAR NOT NULL
"""

#: Names are kept as bytes: a metric's name may hold lone surrogates, which VARCHAR refuses.
META = "CREATE TABLE IF NOT EXISTS meta (format INTEGER NOT NULL)"
STATEMENTS = (
    "CREATE TABLE IF NOT EXISTS branches (number INTEGER NOT NULL, name BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS writers (number INTEGER NOT NULL, name BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS metrics (number INTEGER NOT NULL, name BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS cursors (writer INTEGER PRIMARY KEY, committed_through BIGINT)",
    """CREATE TABLE IF NOT EXISTS streams (
        branch INTEGER, writer INTEGER, relative TINYINT, parts BIGINT, step_min BIGINT,
        step_max BIGINT, has_repeats BOOLEAN, rows_step_went_down BIGINT,
        PRIMARY KEY (branch, writer, relative))""",
    """CREATE TABLE IF NOT EXISTS rows (
        branch INTEGER NOT NULL, writer INTEGER NOT NULL, relative TINYINT NOT NULL,
        step BIGINT NOT NULL, seq BIGINT NOT NULL, timestamp DOUBLE NOT NULL,
        runtime DOUBLE NOT NULL, flags BIGINT NOT NULL)""",
    f"CREATE TABLE IF NOT EXISTS points ({_POINT})",
    f"CREATE TABLE IF NOT EXISTS packed ({_POINT})",
)

#: A span of a history as a row; bound as the table `spans` in every reading statement.
JOIN_SPANS = """
    JOIN spans s ON t.branch = s.branch AND t.relative = s.relative
        AND (s.writer = -1 OR t.writer = s.writer)
        AND t.step <= s.step_max
"""

TOTALS = f"""
    SELECT t.branch, t.writer, t.relative, count(DISTINCT t.step),
           max(t.step + s.shift), arg_max(t.timestamp, t.seq), arg_max(t.runtime, t.seq)
    FROM {{rows}} t {JOIN_SPANS} GROUP BY ALL
"""

#: One point for each (stream, step, metric): that of the latest part of the row.
LATEST_POINTS = """
    SELECT branch, metric, writer, relative, step, shift, position,
           max(seq) AS seq, arg_max(kind, seq) AS kind, arg_max(value, seq) AS value,
           arg_max(text, seq) AS text
    FROM ({points}) GROUP BY branch, metric, writer, relative, step, shift, position
"""

#: kind 1 to 3 are the numbers (rows.ColumnKind).
AGGREGATES = """
    WITH n AS (
        SELECT *, kind <= 3 AND NOT isnan(value) AS is_number,
               kind = 2 AND text <> '' AS is_large FROM ({points}))
    SELECT branch, writer, relative, metric,
           count(*) FILTER (is_number), count(*) FILTER (kind <= 3 AND isnan(value)),
           min(value) FILTER (is_number), max(value) FILTER (is_number),
           coalesce(sum(value) FILTER (is_number), 0.0),
           bool_and(kind = 2) FILTER (is_number),
           coalesce(arg_min(text, value) FILTER (is_large), ''),
           coalesce(arg_max(text, value) FILTER (is_large), ''),
           min(seq), arg_min(kind, seq), arg_min(value, seq), arg_min(text, seq),
           max(seq), arg_max(kind, seq), arg_max(value, seq), arg_max(text, seq)
    FROM n GROUP BY branch, writer, relative, metric
"""

#: Of several parts of a row the latest counts, as it does anyway.
LAST_VALUES = """
    SELECT branch, writer, relative, metric, last.kind AS kind, last.value AS value,
           last.text AS text
    FROM (SELECT branch, writer, relative, metric,
                 arg_max({{'kind': kind, 'value': value, 'text': text}}, seq) AS last
          FROM ({points}) GROUP BY branch, writer, relative, metric)
"""

#: NaN is NULL in here: plain aggregates leave it out, and cost half of those with a FILTER.
BUCKETS = """
    WITH n AS (
        SELECT {metric} AS metric, (step + shift - $start) // $width AS number,
               CASE WHEN isnan(value) THEN NULL ELSE value END AS value
        FROM ({points}) WHERE kind <= 3)
    SELECT metric, number, count(value), count(*) - count(value),
           min(value), max(value), avg(value)
    FROM n GROUP BY metric, number ORDER BY metric, number
"""

#: The position of a span says whose it is; `members` says in which group that run is.
BANDS = """
    WITH n AS (
        SELECT position AS run, {metric} AS metric, (step + shift - $start) // $width AS number,
               CASE WHEN isnan(value) THEN NULL ELSE value END AS value
        FROM ({points}) WHERE kind <= 3),
    one AS (
        SELECT run, metric, number, count(value) AS count, count(*) - count(value) AS nans,
               min(value) AS low, max(value) AS high, avg(value) AS mean
        FROM n GROUP BY run, metric, number)
    SELECT metric, "group", number, count(mean), sum(count)::BIGINT, sum(nans)::BIGINT,
           min(low), max(high), avg(mean),
           CASE WHEN bool_and(abs(mean) < 1e150)
                THEN stddev_samp(CASE WHEN abs(mean) < 1e150 THEN mean END) END,
           quantile_cont(mean, $quantiles)
    FROM one JOIN members USING (run) GROUP BY metric, "group", number
    ORDER BY metric, "group", number
"""

#: Flags of a row: went down if one part did, partial if all parts are. Writers without a rank come
#: last, in the order in which they came.
ROW_KEYS = f"""
    SELECT t.branch, t.writer, t.relative, t.step AS stored_step, t.step + s.shift AS step,
           s.position, coalesce(r.rank, {{ranked}} + t.writer)::BIGINT AS rank,
           min(t.seq) AS first_seq, count(*) AS parts,
           arg_max(t.timestamp, t.seq) AS timestamp, arg_max(t.runtime, t.seq) AS runtime,
           (bit_or(t.flags) & 3) | bit_and(t.flags & 4) AS flags
    FROM {{rows}} t {JOIN_SPANS} LEFT JOIN ranks r ON t.writer = r.writer
    {{where}}
    GROUP BY t.branch, t.writer, t.relative, t.step, s.shift, s.position, r.rank
"""
