"""A server that answers as W&B's does, keeps what it is told, and fails when it is told to.

Written from what W&B's client sends and needs, not from kelt's code: it can judge kelt's daemon and
W&B's own client alike. Lines lie at the index at which they were sent; a fork copies the lines of
its parent, which must be there; a rewind cuts them off, of a run that has ended only.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from harness.wandb_stub_artifacts import StubArtifacts

if TYPE_CHECKING:
    from typing_extensions import Self

KEY = "k" * 40
ENTITY = "someone"
HISTORY, SUMMARY = "wandb-history.jsonl", "wandb-summary.json"
EVENTS, CONSOLE = "wandb-events.jsonl", "output.log"


@dataclass
class Request:
    """What was asked: `kind` is the GraphQL operation's field, `file_stream`, `upload` or `blob`."""

    kind: str
    run_id: str
    body: dict[str, Any]
    headers: dict[str, str]
    at: float = field(default_factory=time.monotonic)
    #: Of an upload.
    content: bytes = b""
    file: str = ""


@dataclass
class Run:
    """A run as the server has it."""

    run_id: str
    lines: list[dict[str, Any] | None] = field(default_factory=list)
    events: list[dict[str, Any] | None] = field(default_factory=list)
    console: list[str | None] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    uploaded: list[str] = field(default_factory=list)
    inherited: int = 0
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    heartbeats: int = 0
    #: Lines that rewinds cut off.
    cut_off: list[dict[str, Any] | None] = field(default_factory=list)
    completed: int = 0
    #: Somebody wants it to stop: said in each answer to a post.
    is_stopped: bool = False

    def rows(self) -> list[dict[str, Any] | None]:
        """What was logged, without the columns that begin with an underscore, beside the step."""
        return [line and plain(line) for line in self.lines]


def plain(line: dict[str, Any]) -> dict[str, Any]:
    """A history line without times, flat."""
    flat = flattened(line)
    return {k: v for k, v in flat.items() if not k.startswith("_") or k == "_step"}


def flattened(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            found |= flattened(inner, f"{prefix}{key}.")
        else:
            found[prefix + key] = inner
    return found


#: Told a request before anything is done; what it returns happens instead: an HTTP status, or
#: (status, headers), "cut" (no answer), "lose" (done, and then no answer), "hang"; None: nothing.
Fault = Callable[[Request], Any]


@dataclass
class WandbStub:
    """Serves on loopback. `runs` by (entity, project, run id)."""

    requests: list[Request] = field(default_factory=list)
    runs: dict[tuple[str, str, str], Run] = field(default_factory=dict)
    fault: Fault | None = None
    key: str = KEY
    hang_s: float = 5.0
    port: int = 0
    artifacts: StubArtifacts = field(default_factory=StubArtifacts)
    _server: Any = None
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        handler = type("Handler", (_Handler,), {"stub": self})
        self._server = _Server(("127.0.0.1", self.port), handler)
        self.port = self._server.server_address[1]
        self.artifacts.url = self.url
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(self, run_id: str, project: str = "p", entity: str = ENTITY) -> Run:
        return self.runs[entity, project, run_id]

    def rows(self, run_id: str) -> list[dict[str, Any] | None]:
        return self.run(run_id).rows()

    def of_kind(self, kind: str, run_id: str = "") -> list[Request]:
        return [r for r in self.requests if r.kind == kind and run_id in {"", r.run_id}]

    # -- what the server does --------------------------------------------------------------------

    def take(self, request: Request, names: tuple[str, ...]) -> tuple[int, dict[str, Any]]:
        """Does what is asked; a status and a body."""
        if request.kind == "file_stream":
            return self._stream(names, request.body)
        variables = request.body.get("variables") or {}
        if request.kind == "upload":
            self.runs[names[0], names[1], names[2]].files[names[3]] = request.content
            return 200, {}
        if request.kind == "createArtifact":
            said = variables["input"]
            key = (said["entityName"] or ENTITY, said["projectName"], said["runName"])
            if key not in self.runs:
                return 200, {"errors": [{"message": f"run {key[2]} not found"}]}
        if request.kind == "blob":
            return self.artifacts.put(request.file, request.content), {}
        answers = {
            **self.artifacts.answers(),
            "viewer": self._viewer, "serverInfo": self._server_info, "upsertBucket": self._upsert,
            "rewindRun": self._rewind, "model": self._model, "createRunFiles": self._create_files,
        }  # fmt: skip
        if request.kind not in answers:
            return 200, {"errors": [{"message": "unknown field"}]}
        return 200, answers[request.kind](variables)

    def _viewer(self, _: dict[str, Any]) -> dict[str, Any]:
        teams = {"edges": [{"node": {"id": "T", "name": ENTITY}}]}
        viewer = {
            "id": "U", "username": ENTITY, "entity": ENTITY, "name": ENTITY, "email": "a@b.c",
            "admin": False, "flags": "{}", "teams": teams, "apiKeys": {"edges": []},
        }  # fmt: skip
        info = {"cliVersionInfo": {"max_cli_version": "0.99.0"}, "latestLocalVersionInfo": None}
        return {"data": {"viewer": viewer, "serverInfo": info}}

    def _server_info(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"data": {"serverInfo": {"features": []}}}

    def _upsert(self, given: dict[str, Any]) -> dict[str, Any]:
        entity, project = given.get("entity") or ENTITY, given.get("project") or "uncategorized"
        key = (entity, project, given.get("name") or given["id"])
        run = self.runs.get(key)
        is_new = run is None
        config = json.loads(given.get("config") or "{}")
        if run is None:
            run = Run(key[2])
            point = config.get("_wandb", {}).get("value", {}).get("branch_point") or {}
            parent_id = point.get("run_id", key[2])
            if parent_id != key[2]:
                parent = self.runs.get((entity, project, parent_id))
                if parent is None:
                    return {"errors": [{"message": f"run {parent_id} not found"}]}
                run.lines = [x for x in parent.lines if x and x["_step"] <= point["step"]]
                run.inherited = len(run.lines)
            self.runs[key] = run
        run.config |= config
        facts = {k: v for k, v in given.items() if v is not None}
        run.facts |= {k: v for k, v in facts.items() if k not in {"config", "id"}}
        count = len(run.lines) if given.get("id") else run.inherited
        bucket = {
            "id": f"B-{run.run_id}", "name": run.run_id, "displayName": run.facts.get("displayName"),
            "description": None, "config": json.dumps(run.config), "sweepName": None,
            "project": {"id": "P", "name": project, "entity": {"id": "E", "name": entity}},
            "historyLineCount": count,
        }  # fmt: skip
        return {"data": {"upsertBucket": {"bucket": bucket, "inserted": is_new}}}

    def _rewind(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get((given.get("entity") or ENTITY, given["project"], given["runName"]))
        if run is None:
            return {"errors": [{"message": "run not found"}]}
        if run.exit_code is None:
            return {"errors": [{"message": "cannot rewind a run that is running"}], "status": 400}
        kept = [x for x in run.lines if x and x["_step"] <= given["metricValue"]]
        run.cut_off += run.lines[len(kept) :]
        run.lines, run.summary, run.exit_code = kept, {}, None
        run.events, run.console = [], []
        bucket = {
            "id": f"B-{run.run_id}", "name": run.run_id, "displayName": None, "sweepName": None,
            "historyLineCount": len(kept), "config": json.dumps(run.config),
            "project": {
                "id": "P", "name": given["project"], "entity": {"id": "E", "name": ENTITY},
                "internalId": "1",
            },
        }  # fmt: skip
        return {"data": {"rewindRun": {"rewoundRun": bucket}}}

    def _model(self, given: dict[str, Any]) -> dict[str, Any]:
        key = (given.get("entity") or ENTITY, given["project"], given["name"])
        run = self.runs.get(key)
        if run is None:
            return {"data": {"model": {"id": "P", "name": key[1], "bucket": None}}}
        steps = [json.dumps(line) for line in run.lines[-1:] if line]
        bucket = {
            "id": f"B-{run.run_id}", "name": run.run_id, "displayName": run.facts.get("displayName"),
            "summaryMetrics": json.dumps(run.summary), "config": json.dumps(run.config),
            "historyLineCount": len(run.lines), "eventsLineCount": len(run.events),
            "logLineCount": len(run.console), "historyTail": json.dumps(steps), "eventsTail": "[]", "tags": run.facts.get("tags") or [],
            "wandbConfig": json.dumps({"t": {}, "v": 1}),
        }  # fmt: skip
        entity = {"id": "E", "name": key[0]}
        return {"data": {"model": {"id": "P", "name": key[1], "entity": entity, "bucket": bucket}}}

    def _create_files(self, given: dict[str, Any]) -> dict[str, Any]:
        base = "/".join((given["entity"], given["project"], given["run"]))
        files = [
            {"name": f, "uploadUrl": f"{self.url}/up/{base}/{quote(f)}"} for f in given["files"]
        ]
        found = {"runID": "B", "uploadHeaders": ["X-Said: by W&B: so"], "files": files}
        return {"data": {"createRunFiles": found}}

    def _stream(self, key: tuple[str, ...], body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        run = self.runs.get((key[0], key[1], key[2]))
        if run is None:
            return 404, {"error": "run not found"}
        if not body:
            run.heartbeats += 1
        files = body.get("files") or {}
        for name, lines, read in (
            (HISTORY, run.lines, json.loads), (EVENTS, run.events, json.loads),
            (CONSOLE, run.console, str),
        ):  # fmt: skip
            if (said := files.get(name)) is not None:
                end = said["offset"] + len(said["content"])
                lines.extend([None] * (end - len(lines)))
                lines[said["offset"] : end] = map(read, said["content"])
        run.uploaded += body.get("uploaded") or []
        if (summary := files.get(SUMMARY)) is not None:
            run.summary = json.loads(summary["content"][-1])
        if body.get("complete"):
            run.exit_code = body.get("exitcode", 0)
            run.completed += 1
        return 200, {
            "exitcode": None,
            "limits": {},
            **({"stopped": True} if run.is_stopped else {}),
        }


#: Kinds of requests that put a content where the server said.
PUT = frozenset(("upload", "blob"))


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients go away as they like."""


class _Handler(BaseHTTPRequestHandler):
    stub: WandbStub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(404, {})

    def do_PUT(self) -> None:
        self._served("blob" if self.path.startswith("/blob/") else "upload", {})

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        kind = "graphql" if path == "/graphql" else path.rpartition("/")[2]
        if kind not in {"graphql", "file_stream"}:
            self._read()
            self._answer(404, {})
            return
        self._served(kind, json.loads(self._read() or b"{}"))

    def _served(self, kind: str, body: dict[str, Any]) -> None:
        names = tuple(map(unquote, self.path.split("/", 5)[2:]))
        if kind == "graphql":
            kind = _field_of(body["query"])
            given = body.get("variables") or {}
            run_id = given.get("name") or given.get("runName") or given.get("run") or ""
        else:
            run_id = "" if kind == "blob" else names[2]
        headers = {k.lower(): v for k, v in self.headers.items()}
        content = self._read() if kind in PUT else b""
        file = names[-1] if kind in PUT else ""
        request = Request(kind, str(run_id), body, headers, content=content, file=file)
        stub = self.stub
        with stub._lock:
            stub.requests.append(request)
            fault = stub.fault(request) if stub.fault else None
            is_done = fault is None or fault == "lose"
            status, said = stub.take(request, names) if is_done else (0, {})
        if fault == "hang":
            time.sleep(stub.hang_s)
        if isinstance(fault, str):
            self._cut()
        elif fault is not None:
            status, headers = fault if isinstance(fault, tuple) else (fault, {})
            self._answer(status, {"error": "a failure that was asked for"}, headers)
        elif kind not in PUT and not self._is_let_in():
            self._answer(401, {"error": "user is not logged in"})
        else:
            self._answer(said.pop("status", status), said)

    def _is_let_in(self) -> bool:
        import base64

        pair = base64.b64encode(f"api:{self.stub.key}".encode()).decode()
        return self.headers.get("Authorization") == f"Basic {pair}"

    def _read(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(
        self, status: int, said: dict[str, Any], headers: dict[str, str] | None = None
    ) -> None:
        raw = json.dumps(said).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _cut(self) -> None:
        """The connection breaks, with a reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()


def _field_of(query: str) -> str:
    """The first field that a GraphQL document asks for."""
    body = query[query.index("{") + 1 :]
    found = re.match(r"\s*(?:\w+\s*:\s*)?(\w+)", body)
    return found.group(1) if found else ""
