"""A web server on this machine whose answers a test decides."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """What the server sends back."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    announced: int | None = None
    """Content-Length, if it is not the length of the body; -1 sends none."""
    pause: float = 0.0
    """Seconds between pieces of the body."""


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    time: float


Respond = Callable[[Asked], Answer]


class Server:
    """A running server.

    `answers` maps paths to what is sent: one answer, a list of answers, of which the last is
    repeated, or a function. Anything else is 404.
    """

    def __init__(self, answers: dict[str, Answer | list[Answer] | Respond]) -> None:
        self.answers = answers
        self.asked: list[Asked] = []
        self.fallback: Respond | None = None
        self._mutex = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                asked = Asked(self.command, self.path, dict(self.headers), time.time())
                length = int(self.headers.get("Content-Length") or 0)
                self.rfile.read(length)
                self._send(outer.answer(asked))

            do_HEAD = do_POST = do_GET

            def _send(self, answer: Answer) -> None:
                self.send_response(answer.status)
                length = len(answer.body) if answer.announced is None else answer.announced
                if length >= 0:
                    self.send_header("Content-Length", str(length))
                cut = answer.announced is not None
                if cut:
                    self.send_header("Connection", "close")
                    self.close_connection = True
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "HEAD":
                    return
                step = max(1, len(answer.body) // 4) if answer.pause else len(answer.body) or 1
                try:
                    for start in range(0, len(answer.body), step):
                        self.wfile.write(answer.body[start : start + step])
                        self.wfile.flush()
                        time.sleep(answer.pause)
                except OSError:
                    pass  # the client has gone

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def answer(self, asked: Asked) -> Answer:
        with self._mutex:
            self.asked.append(asked)
            found = self.answers.get(asked.path)
            if isinstance(found, list):
                found = found.pop(0) if len(found) > 1 else found[0]
        if callable(found):
            return found(asked)
        if found is None and self.fallback is not None:
            return self.fallback(asked)
        return found or Answer(b"nothing here", 404)

    def times(self, path: str) -> int:
        """Return how often a path was asked for."""
        return sum(asked.path == path for asked in self.asked)

    def start(self) -> None:
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@contextmanager
def serving(answers: dict[str, Answer | list[Answer] | Respond]) -> Iterator[Server]:
    """Run a server while the block runs."""
    server = Server(answers)
    server.start()
    try:
        yield server
    finally:
        server.stop()
