"""An HTTP proxy: CONNECT, and GET of a whole address. It alone knows where its names are."""

from __future__ import annotations

import socket
import socketserver
import threading
from urllib.parse import urlsplit


class ConnectProxy:
    """Passes everything to this host, whatever name is asked for, and remembers what was asked."""

    def __init__(self, *, authorization: str = "") -> None:
        self.authorization = authorization
        self.asked: list[str] = []
        self.refused = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        proxy = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                line = self.rfile.readline().decode("latin-1")
                headers = {}
                while (header := self.rfile.readline().strip()) != b"":
                    name, _, value = header.decode("latin-1").partition(":")
                    headers[name.strip().lower()] = value.strip()
                if not line:
                    return
                method, target, _ = line.split(" ", 2)
                if (
                    proxy.authorization
                    and headers.get("proxy-authorization") != proxy.authorization
                ):
                    proxy.refused += 1
                    self.wfile.write(b"HTTP/1.1 407 Who are you\r\ncontent-length: 0\r\n\r\n")
                    return
                proxy.asked.append(f"{method} {target}")
                if method == "CONNECT":
                    far = socket.create_connection(("127.0.0.1", int(target.rpartition(":")[2])))
                    self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
                else:
                    parts = urlsplit(target)
                    far = socket.create_connection(("127.0.0.1", parts.port or 80))
                    head = f"{method} {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\n"
                    far.sendall(f"{head}connection: close\r\n\r\n".encode())
                with far:
                    back = threading.Thread(
                        target=self._copy, args=(far, self.connection), daemon=True
                    )
                    back.start()
                    self._copy(self.connection, far)
                    back.join(60)

            def _copy(self, source: socket.socket, target: socket.socket) -> None:
                try:
                    while data := source.recv(65536):
                        target.sendall(data)
                    target.shutdown(socket.SHUT_WR)
                except OSError:
                    pass

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, *_: object) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(60)
