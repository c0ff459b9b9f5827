"""What `/openapi.json` says: every route of the API, for machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kelt_server import __version__
from kelt_server.api.files import FILES_MAX
from kelt_server.api.routes import BUCKETS_MAX, LINES_MAX, PREFIX, ROWS_MAX, RUNS_MAX

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
_STREAM = _query(
    "stream",
    "`system` for system samples, whose steps are milliseconds of Unix time",
    {"enum": ["default", "system"], "default": "default"},
)
_FORMAT = _query("format", "how to answer", {"enum": ["json", "arrow"], "default": "json"})

_PAGE = [
    _query("offset", "how many to skip", {"type": "integer", "default": 0}),
    _limit("limit", 1000, FILES_MAX),
]

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
        "is_asked_to_stop": {"type": "boolean"},
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
            _query("entity", "the server's default where it is not given; `*`: all that is open"),
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
    "/runs/{entity}/{project}/{run}/forks": (
        "Runs that were forked from it",
        [
            _query("offset", "how many to skip", {"type": "integer", "default": 0}),
            _limit("limit", 100, RUNS_MAX),
        ],
        _RUNS_REF,
    ),
    "/runs/{entity}/{project}/{run}/history": (
        "Rows of its history",
        [
            *_KEYS,
            _LABEL,
            *_RANGE,
            _limit("limit", 1000, ROWS_MAX),
            _query("after", "`next` of the page before"),
            _query("samples", "take so many rows, evenly", {**_WHOLE, "maximum": ROWS_MAX}),
            _STREAM,
            _FORMAT,
        ],
        {"type": "object"},
    ),
    "/runs/{entity}/{project}/{run}/buckets": (
        "Minimum, maximum and mean by ranges of steps",
        [*_KEYS, _LABEL, *_RANGE, _limit("buckets", 1000, BUCKETS_MAX), _STREAM, _FORMAT],
        {"type": "object"},
    ),
    "/runs/{entity}/{project}/{run}/keys": (
        "Every key of its history",
        [_LABEL, _STREAM],
        {"type": "object"},
    ),
    "/runs/{entity}/{project}/{run}/console": (
        "Lines of its console",
        [
            _query("last", "the last so many lines", {**_WHOLE, "maximum": LINES_MAX}),
            _limit("limit", 1000, LINES_MAX),
            _query("after", "`next` of the page before"),
            _query("begin", "`last` of any page: that line, as it is now, and what follows"),
            _LABEL,
            _FORMAT,
        ],
        {"type": "object"},
    ),
    "/runs/{entity}/{project}/{run}/files": ("Its files", _PAGE, {"type": "object"}),
    "/runs/{entity}/{project}/{run}/files/{path}": ("What is in a file", [], {}),
    "/runs/{entity}/{project}/{run}/artifacts": (
        "Artifacts that it logged and used",
        [],
        {"type": "object"},
    ),
    "/artifacts/{entity}/{project}/{name}": (
        "A version of an artifact, named `collection:alias`",
        _PAGE,
        {"type": "object"},
    ),
    "/artifacts/{entity}/{project}": ("Names of artifacts of a project", [], {"type": "object"}),
    "/artifacts/{entity}/{project}/{name}/versions": (
        "Every version of a name, the newest first",
        [],
        {"type": "object"},
    ),
    "/artifacts/{entity}/{project}/{name}/files/{path}": ("What is in one of its files", [], {}),
    "/branches/{immutable_id}": ("One branch by immutable id", [], _RUN_REF),
}

_NAMED = {"type": "object", "required": ["name"], "properties": {"name": _TEXT}}
_KEYED = {"type": "object", "properties": {"key": _TEXT}}
_NEW_USER = {
    **_NAMED,
    "properties": {"name": _TEXT, "is_admin": {"type": "boolean"}, "key": _TEXT},
}
_CHANGED_ARTIFACT = {
    "type": "object",
    "properties": {
        "description": {"type": ["string", "null"]},
        "metadata": {"type": "object"},
        "ttl_s": {"type": ["integer", "null"]},
        **dict.fromkeys(("tags", "add_aliases", "delete_aliases"), _TEXTS),
    },
}
#: What acts on runs, and what only a user or an admin may: (method, path) → (summary, body, status)
ACTIONS: dict[tuple[str, str], tuple[str, dict[str, Any] | None, str]] = {
    ("delete", "/runs/{entity}/{project}/{run}"): ("Delete a run", None, "200"),
    ("post", "/runs/{entity}/{project}/{run}/stop"): ("Ask a run to stop", None, "200"),
    ("post", "/runs/{entity}/{project}/{run}/uses/{of_entity}/{of_project}/{name}"): (
        "Remember that a run uses a version of an artifact",
        None,
        "200",
    ),
    ("patch", "/artifacts/{entity}/{project}/{name}"): (
        "Change what is said of a version of an artifact",
        _CHANGED_ARTIFACT,
        "200",
    ),
    ("delete", "/artifacts/{entity}/{project}/{name}"): (
        "Delete a version of an artifact; with its aliases by `with_aliases=true`",
        None,
        "200",
    ),
    ("get", "/viewer"): ("Who asks", None, "200"),
    ("get", "/users"): ("Users, and their keys by id", None, "200"),
    ("post", "/users"): ("Add a user, with a key", _NEW_USER, "201"),
    ("delete", "/users/{user}"): ("Remove a user", None, "204"),
    ("post", "/users/{user}/keys"): ("Add a key", _KEYED, "201"),
    ("delete", "/users/{user}/keys/{key_id}"): ("Remove a key", None, "204"),
    ("get", "/teams"): ("Teams", None, "200"),
    ("post", "/teams"): ("Add a team", _NAMED, "201"),
    ("delete", "/teams/{team}"): ("Remove a team", None, "204"),
    ("put", "/teams/{team}/members/{user}"): ("Make somebody a member", None, "200"),
    ("delete", "/teams/{team}/members/{user}"): ("Take a member out", None, "200"),
}


def _action(path: str, summary: str, body: dict[str, Any] | None, status: str) -> dict[str, Any]:
    error = {"$ref": "#/components/responses/Error"}
    taken = {} if body is None else {"requestBody": {"content": _json_of(body)}}
    answer = {} if status == "204" else {"content": _json_of({"type": "object"})}
    return {
        "summary": summary,
        "parameters": _in_path(path),
        "security": [{}, {"key": []}],
        **taken,
        "responses": {
            status: {"description": summary, **answer},
            **dict.fromkeys(("400", "401", "403", "404", "409", "503"), error),
        },
    }


def _json_of(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _in_path(path: str) -> list[dict[str, Any]]:
    return [
        {"name": part[1:-1], "in": "path", "required": True, "schema": _TEXT}
        for part in path.split("/")
        if part.startswith("{")
    ]


def _operation(path: str) -> dict[str, Any]:
    summary, query, schema = OPERATIONS[path]
    content = _json_of(schema) if schema else {"application/octet-stream": {}}
    if _FORMAT in query:
        content[_ARROW] = {"schema": {"type": "string", "format": "binary"}}
    error = {"$ref": "#/components/responses/Error"}
    return {
        "summary": summary,
        "parameters": [*_in_path(path), *query],
        "security": [] if path == "/info" else [{}, {"key": []}],
        "responses": {
            "200": {"description": summary, "content": content},
            **dict.fromkeys(("400", "401", "403", "404", "503"), error),
        },
    }


def document() -> dict[str, Any]:
    """The OpenAPI document."""
    paths: dict[str, dict[str, Any]] = {}
    for path in OPERATIONS:
        paths[PREFIX + path] = {"get": _operation(path)}
    for (method, path), (summary, body, status) in ACTIONS.items():
        paths.setdefault(PREFIX + path, {})[method] = _action(path, summary, body, status)
    error_schema = {"type": "object", "properties": {"error": _TEXT}, "required": ["error"]}
    return {
        "openapi": "3.1.0",
        "info": {"title": "kelt API", "version": __version__},
        "paths": paths,
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
