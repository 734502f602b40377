"""A stand-in for the hub's HTTP API on this machine: repositories are folders, one commit each."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
OLDER = "0ddba11" + "0" * 33
REVISIONS = {"main": COMMIT, "older": OLDER, COMMIT: COMMIT, OLDER: OLDER}


class Hub(ThreadingHTTPServer):
    """Serves ``root/owner/name`` as a repository; notes every request.

    The revision ``older`` holds the files of ``root/owner/name@older``.
    """

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.requests: list[tuple[str, str]] = []
        self.gated: set[str] = set()
        self.broken = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def fetched(self) -> list[str]:
        """Names of the files whose content was asked for."""
        paths = [path for method, path in self.requests if method == "GET"]
        return sorted(path.rpartition("/")[2] for path in paths if "/resolve/" in path)

    def folder(self, repository: str, revision: str) -> Path | None:
        commit = REVISIONS.get(revision)
        if commit is None:
            return None
        return self.root / (repository if commit == COMMIT else f"{repository}@older")


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        self.server.requests.append((self.command, path))
        if self.server.broken:
            return self._send(503, b"{}", with_body)
        if path.startswith("api/models/"):
            repository, _, revision = path.removeprefix("api/models/").partition("/revision/")
            return self._listing(repository, revision or "main", with_body)
        repository, marker, rest = path.partition("/resolve/")
        if not marker:
            return self._send(404, b"{}", with_body)
        revision, _, name = rest.partition("/")
        folder = self._folder(repository, revision, with_body)
        if folder is None:
            return None
        file = folder / name
        if not file.is_file():
            return self._send(404, b"", with_body, {"X-Error-Code": "EntryNotFound"})
        content = file.read_bytes()
        headers = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Repo-Commit": REVISIONS[revision],
        }
        self._send(200, content, with_body, headers)

    def _folder(self, repository: str, revision: str, with_body: bool) -> Path | None:
        if not (self.server.root / repository).is_dir():
            self._send(404, b"", with_body, {"X-Error-Code": "RepoNotFound"})
        elif repository in self.server.gated:
            self._send(403, b"", with_body, {"X-Error-Code": "GatedRepo"})
        elif (folder := self.server.folder(repository, revision)) is None:
            self._send(404, b"", with_body, {"X-Error-Code": "RevisionNotFound"})
        else:
            return folder
        return None

    def _listing(self, repository: str, revision: str, with_body: bool) -> None:
        folder = self._folder(repository, revision, with_body)
        if folder is not None:
            names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))
            facts = {
                "id": repository,
                "sha": REVISIONS[revision],
                "siblings": [{"rfilename": name} for name in names],
            }
            self._send(200, json.dumps(facts).encode(), with_body)

    def _send(
        self, status: int, body: bytes, with_body: bool, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)


@contextlib.contextmanager
def serving(root: Path) -> Iterator[Hub]:
    """Serve a folder of repositories while a block runs."""
    hub = Hub(root)
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
