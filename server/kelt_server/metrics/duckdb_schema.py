"""The tables of `metrics.duckdb`. `meta.format` rises when they change."""
# ruff: noqa: S608 # built of the constants below alone

FORMAT = 1

#: Names are kept as bytes: a metric's name may hold lone surrogates, which VARCHAR refuses.
STATEMENTS = (
    "CREATE TABLE IF NOT EXISTS meta (format INTEGER NOT NULL)",
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
    """CREATE TABLE IF NOT EXISTS points (
        branch INTEGER NOT NULL, metric INTEGER NOT NULL, writer INTEGER NOT NULL,
        relative TINYINT NOT NULL, step BIGINT NOT NULL, seq BIGINT NOT NULL,
        kind TINYINT NOT NULL, value DOUBLE NOT NULL, text VARCHAR NOT NULL)""",
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
    FROM rows t {JOIN_SPANS} GROUP BY ALL
"""

#: One point for each (stream, step, metric): that of the latest part of the row.
LATEST_POINTS = f"""
    SELECT t.branch, t.metric, t.writer, t.relative, t.step, s.shift, s.position,
           max(t.seq) AS seq, arg_max(t.kind, t.seq) AS kind, arg_max(t.value, t.seq) AS value,
           arg_max(t.text, t.seq) AS text
    FROM points t {JOIN_SPANS} {{where}}
    GROUP BY t.branch, t.metric, t.writer, t.relative, t.step, s.shift, s.position
"""

#: The same where no row of the history has several parts.
POINTS = f"""
    SELECT t.branch, t.metric, t.writer, t.relative, t.step, s.shift, s.position,
           t.seq, t.kind, t.value, t.text
    FROM points t {JOIN_SPANS} {{where}}
"""

#: kind 1 to 3 are the numbers (rows.ColumnKind).
AGGREGATES = """
    WITH p AS ({points}), n AS (
        SELECT *, kind <= 3 AND NOT isnan(value) AS is_number,
               kind = 2 AND text <> '' AS is_large FROM p)
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

BUCKETS = """
    WITH p AS ({points}), n AS (
        SELECT metric, (step + shift - $start) // $width AS number, value, isnan(value) AS is_nan
        FROM p WHERE kind <= 3 AND step + shift >= $start
            AND step + shift < $start + $width * $number)
    SELECT metric, number, count(*) FILTER (NOT is_nan), count(*) FILTER (is_nan),
           min(value) FILTER (NOT is_nan), max(value) FILTER (NOT is_nan),
           avg(value) FILTER (NOT is_nan)
    FROM n GROUP BY metric, number ORDER BY metric, number
"""

#: Flags of a row: went down if one part did, partial if all parts are.
ROW_KEYS = f"""
    SELECT t.branch, t.writer, t.relative, t.step AS stored_step, t.step + s.shift AS step,
           s.position, r.rank, min(t.seq) AS first_seq, count(*) AS parts,
           arg_max(t.timestamp, t.seq) AS timestamp, arg_max(t.runtime, t.seq) AS runtime,
           (bit_or(t.flags) & 3) | bit_and(t.flags & 4) AS flags
    FROM rows t {JOIN_SPANS} JOIN ranks r ON t.writer = r.writer
    {{where}}
    GROUP BY t.branch, t.writer, t.relative, t.step, s.shift, s.position, r.rank
"""
