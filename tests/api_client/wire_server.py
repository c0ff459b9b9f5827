"""A small real HTTP server that speaks the read API as its page describes it.

Replies are written here by hand, as bytes: nothing of the client is used to make them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

Query = dict[str, list[str]]


@dataclass
class Asked:
    path: str
    query: Query
    headers: dict[str, str]


@dataclass
class WireServer:
    """Answers paths under /api/v1 with what the test puts there; remembers what was asked."""

    address: str = ""
    answers: dict[str, Callable[[Query], tuple[int, bytes]]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    #: How many of the next requests are cut off without an answer.
    cut_off: int = 0

    def says(self, path: str, body: str, *, status: int = 200) -> None:
        self.answers[path] = lambda _: (status, body.encode("utf-8"))

    def decides(self, path: str, answer: Callable[[Query], tuple[int, bytes]]) -> None:
        self.answers[path] = answer

    def asked_for(self, path: str) -> list[Query]:
        return [a.query for a in self.asked if a.path == path]


RUN = """{"entity": "me", "project": "demo", "run_id": "base", "immutable_id": "i1",
 "name": "brave-otter-1", "notes": null, "group": null, "job_type": "train", "tags": ["a", "b"],
 "state": "failed", "reason": "ValueError: nan", "state_at": 1700000100.5, "offline_since": null,
 "created_at": 1700000000.0, "started_at": 1700000001.0, "heartbeat_at": 1700000100.25,
 "runtime": 99.5, "rows": 3, "last_step": 2, "kind": "forked", "is_archived": false,
 "held_by": "i1",
 "lineage": [{"immutable_id": "i0", "entity": "me", "project": "demo", "run_id": "root",
              "fork_step": 200, "kind": "forked", "known": true}],
 "archived": ["i9"],
 "config": {"lr": 1.0, "epochs": 1, "huge": 123456789012345678901234567890,
            "limits": [{"$float": "-Infinity"}, {"$float": "Infinity"}, 1], "nothing": null},
 "summary": {"loss": {"$float": "NaN"}, "_step": 2, "ok": true},
 "definitions": [],
 "losses": [{"writer_id": "00ff", "first_seq": 4, "last_seq": 6, "rows": 2, "reason": "disk"}],
 "lost_rows": 2, "rows_step_went_down": 0, "problems": ["the parent has not arrived"],
 "host": "box", "sessions": []}"""


@contextlib.contextmanager
def served_wire() -> Iterator[WireServer]:
    """A server on a free port."""
    state = WireServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            parts = urlsplit(self.path)
            query = parse_qs(parts.query, keep_blank_values=True)
            state.asked.append(Asked(parts.path, query, dict(self.headers)))
            if state.cut_off:
                state.cut_off -= 1
                self.close_connection = True
                return
            missing = (404, b'{"error": "There is no such run."}')
            answer = state.answers.get(parts.path)
            status, body = answer(query) if answer else missing
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_):
            pass

    server = Server(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
