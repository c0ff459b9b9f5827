"""What `/openapi.json` says: every route of the read API, for machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kelt_server import __version__
from kelt_server.api.routes import BUCKETS_MAX, PREFIX, ROWS_MAX, RUNS_MAX

_TEXT = {"type": "string"}
_WHOLE = {"type": "integer"}
_TEXTS = {"type": "array", "items": _TEXT}
_ARROW = "application/vnd.apache.arrow.stream"


def _query(name: str, about: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": about, "schema": schema or _TEXT}


def _limit(name: str, default: int, highest: int) -> dict[str, Any]:
    schema = {"type": "integer", "default": default, "maximum": highest}
    return _query(name, f"at most {highest}", schema)


_KEYS = [
    {**_query("key", "a metric; may be repeated"), "schema": {"type": "array", "items": _TEXT}},
    _query("keys", "metrics joined by commas"),
]
_RANGE = [
    _query("min_step", "first step, inclusive", _WHOLE),
    _query("max_step", "last step, inclusive", _WHOLE),
]
_LABEL = _query("label", "only what the writers with this label logged, in a shared run")
_FORMAT = _query("format", "how to answer", {"enum": ["json", "arrow"], "default": "json"})

_TEXT_FIELDS = (
    "entity", "project", "run_id", "immutable_id", "name", "notes", "group", "job_type", "reason",
    "kind", "held_by", "host",
)  # fmt: skip

_RUN_SCHEMA = {
    "type": "object",
    "description": "One branch, seen whole",
    "required": ["entity", "project", "run_id", "immutable_id", "state", "config", "summary"],
    "properties": {
        **dict.fromkeys(_TEXT_FIELDS, _TEXT),
        "state": {"enum": ["running", "finished", "failed", "crashed", "killed"]},
        **{
            name: {"type": ["number", "null"]}
            for name in (
                "state_at", "offline_since", "created_at", "started_at", "heartbeat_at", "runtime",
            )
        },
        **dict.fromkeys(("rows", "last_step", "lost_rows", "rows_step_went_down"), _WHOLE),
        "is_archived": {"type": "boolean"},
        **{
            name: {"type": "array", "items": _TEXT}
            for name in ("tags", "archived", "problems", "labels")
        },
        **{
            name: {"type": "array", "items": {"type": "object"}}
            for name in ("lineage", "definitions", "losses", "sessions")
        },
        "config": {"type": "object"},
        "summary": {"type": "object"},
    },
}  # fmt: skip

_RUN_REF = {"$ref": "#/components/schemas/Run"}
_RUNS_REF = {
    "type": "object",
    "properties": {"runs": {"type": "array", "items": _RUN_REF}, "total": _WHOLE},
}

#: path → (summary, query parameters, schema of the JSON answer)
OPERATIONS: dict[str, tuple[str, Sequence[dict[str, Any]], dict[str, Any]]] = {
    "/info": ("Who is there", [], {"type": "object"}),
    "/projects": ("Every project", [], {"type": "object"}),
    "/runs": (
        "Runs of a project",
        [
            _query("entity", "the server's default where it is not given"),
            _query("project", "all of the entity's where it is not given"),
            _query("filters", "JSON with MongoDB's operators"),
            _query("order", "paths with - or +", {"type": "string", "default": "-created_at"}),
            _query("offset", "how many to skip", {"type": "integer", "default": 0}),
            _limit("limit", 100, RUNS_MAX),
            _query("columns", "paths joined by commas: what is wanted of each run"),
            {**_query("column", "one of them; may be repeated"), "schema": _TEXTS},
        ],
        _RUNS_REF,
    ),
    "/bands": (
        "Mean and band over runs, by ranges of steps",
        [
            _query("entity", "the server's default where it is not given"),
            _query("project", "of the runs"),
            {**_query("run", "a run id or an immutable id; may be repeated"), "schema": _TEXTS},
            _query("runs", "run ids joined by commas"),
            _query("filters", "which runs, where none are named: as of /runs"),
            _query("group_by", "paths joined by commas: a band for each combination of values"),
            *_KEYS,
            *_RANGE,
            _limit("buckets", 1000, BUCKETS_MAX),
            _query(
                "quantiles",
                "of the runs' means, from 0 to 1",
                {**_TEXT, "default": "0.25,0.5,0.75"},
            ),
            _FORMAT,
        ],
        {"type": "object"},
    ),
    "/runs/{entity}/{project}/{run}": ("One run", [], _RUN_REF),
    "/runs/{entity}/{project}/{run}/archived": ("Archived branches of its name", [], _RUNS_REF),
    "/runs/{entity}/{project}/{run}/history": (
        "Rows of its history",
        [
            *_KEYS,
            _LABEL,
            *_RANGE,
            _limit("limit", 1000, ROWS_MAX),
            _query("after", "`next` of the page before"),
            _query("samples", "take so many rows, evenly", {**_WHOLE, "maximum": ROWS_MAX}),
            _FORMAT,
        ],
        {"type": "object"},
    ),
    "/runs/{entity}/{project}/{run}/buckets": (
        "Minimum, maximum and mean by ranges of steps",
        [*_KEYS, _LABEL, *_RANGE, _limit("buckets", 1000, BUCKETS_MAX), _FORMAT],
        {"type": "object"},
    ),
    "/runs/{entity}/{project}/{run}/keys": (
        "Every key of its history",
        [_LABEL],
        {"type": "object"},
    ),
    "/branches/{immutable_id}": ("One branch by immutable id", [], _RUN_REF),
}


def _operation(path: str) -> dict[str, Any]:
    summary, query, schema = OPERATIONS[path]
    in_path = [
        {"name": part[1:-1], "in": "path", "required": True, "schema": _TEXT}
        for part in path.split("/")
        if part.startswith("{")
    ]
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    if _FORMAT in query:
        content[_ARROW] = {"schema": {"type": "string", "format": "binary"}}
    error = {"$ref": "#/components/responses/Error"}
    return {
        "summary": summary,
        "parameters": [*in_path, *query],
        "security": [] if path == "/info" else [{}, {"key": []}],
        "responses": {
            "200": {"description": summary, "content": content},
            **dict.fromkeys(("400", "401", "404", "503"), error),
        },
    }


def document() -> dict[str, Any]:
    """The OpenAPI document."""
    error_schema = {"type": "object", "properties": {"error": _TEXT}, "required": ["error"]}
    return {
        "openapi": "3.1.0",
        "info": {"title": "kelt read API", "version": __version__},
        "paths": {PREFIX + path: {"get": _operation(path)} for path in OPERATIONS},
        "components": {
            "schemas": {"Run": _RUN_SCHEMA, "Error": error_schema},
            "responses": {
                "Error": {
                    "description": "A sentence: what, why, and what would do",
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Error"}}
                    },
                }
            },
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }
