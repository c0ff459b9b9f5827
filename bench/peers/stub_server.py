"""A server that says yes: enough of wandb's and pluto's HTTP for their clients to start and log.

It keeps nothing. What is measured beside it is the client alone, at its best: no peer's own server
would answer sooner.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class _YesHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body leave in one packet, instead of waiting for each other's acknowledgement.
    wbufsize = -1

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = self._chunks()
        if self.path.endswith("/graphql"):
            said = _graphql(json.loads(body), f"http://{self.headers['Host']}")
        elif "/sdk/otel/" in self.path:
            self._reply(404, {})
            return
        else:
            # What pluto's create call and all its others want to see.
            said = {"runId": 1, "projectName": "bench", "organization": {"slug": "bench"}}
            said |= {"organizationSlug": "bench", "url": "", "status": "RUNNING"}
            if self.path.endswith("/file_stream"):
                said = {}
        self._reply(200, said)

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _reply(self, status: int, said: dict[str, Any]) -> None:
        data = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = do_PATCH = _answer  # noqa: N815 # as http.server wants them

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def _graphql(asked: dict[str, Any], url: str) -> dict[str, Any]:
    variables = asked.get("variables") or {}
    query = asked.get("query", "")
    if "upsertBucket" in query:
        project = {"name": "bench", "entity": {"name": "bench"}}
        bucket = {"id": "1", "name": variables.get("name") or "run", "project": project}
        return {"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}}
    if "createRunFiles" in query:
        files = [{"name": f, "uploadUrl": f"{url}/upload"} for f in variables.get("files") or ()]
        created = {"runID": "1", "uploadHeaders": [], "files": files}
        return {"data": {"createRunFiles": created}}
    viewer = {"id": "1", "entity": "bench", "username": "bench", "flags": "{}", "teams": None}
    return {"data": {"viewer": viewer, "serverInfo": None, "model": None, "organization": None}}


@contextlib.contextmanager
def stub_server() -> Iterator[str]:
    """Serves on a free loopback port, from threads of this process; gives its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _YesHandler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
