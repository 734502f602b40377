"""A stand-in of the Hugging Face Hub on this machine: dataset repositories in memory.

It answers what huggingface_hub asks to make a repository, upload to it and download from it, with
large files by the basic LFS transfer. `Hub.requests` keeps what was asked, `Hub.stop_after` makes
it fail in the middle of a transfer.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_standin"
SMALL = 2000


@dataclass
class Repository:
    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    def files(self, revision: str | None = None) -> dict[str, bytes]:
        return self.commits[self.head if revision in (None, "main") else revision]


class Hub:
    """What the stand-in holds, and what it was asked."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.stop_after: int | None = None
        self.url = ""

    def create(self, name: str, private: bool) -> Repository:
        self.repositories[name] = Repository(private)
        self.commit(name, {".gitattributes": b"*.arrow filter=lfs\n"})
        return self.repositories[name]

    def commit(self, name: str, changes: dict[str, bytes | None]) -> str:
        commits = self.repositories[name].commits
        files = dict(self.repositories[name].files()) if commits else {}
        files.update({path: data for path, data in changes.items() if data is not None})
        for path in [path for path, data in changes.items() if data is None]:
            del files[path]
        oid = hashlib.sha1(f"{name} {len(commits)}".encode()).hexdigest()
        commits[oid] = files
        return oid

    def asked(self, method: str, pattern: str) -> int:
        return sum(m == method and re.search(pattern, p) is not None for m, p in self.requests)


def _git_oid(data: bytes) -> str:
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, status: int, value: Any = None, **headers: str) -> None:
        data = b"" if value is None else json.dumps(value).encode()
        self._bytes(status, data, {"Content-Type": "application/json", **headers})

    def _bytes(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _handle(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.requests.append((self.command, path))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}" and "/lfs/" not in path:
            self._answer(401, {"error": "Invalid credentials"})
            return
        if self.hub.stop_after is not None and ("/lfs/" in path or "/resolve/" in path):
            if self.hub.stop_after <= 0:
                self._answer(400, {"error": "stopped"})
                return
            self.hub.stop_after -= 1
        for pattern, answer in _ROUTES:
            if found := re.fullmatch(pattern, path):
                answer(self, body, *found.groups())
                return
        self._answer(404, {"error": f"the stand-in does not know {path}"})

    do_GET = do_HEAD = do_POST = do_PUT = _handle

    def _repository(self, name: str, revision: str | None = None) -> Repository | None:
        found = self.hub.repositories.get(name)
        if found is None:
            self._answer(404, {"error": "no"}, **{"X-Error-Code": "RepoNotFound"})
            return None
        if revision not in (None, "main", *found.commits):
            self._answer(404, {"error": "no"}, **{"X-Error-Code": "RevisionNotFound"})
            return None
        return found

    def whoami(self, _: bytes) -> None:
        self._answer(200, {"name": "me", "type": "user", "orgs": []})

    def create_repository(self, body: bytes) -> None:
        wanted = json.loads(body)
        name = f"{wanted['organization'] or 'me'}/{wanted['name']}"
        if wanted["organization"] == "locked":
            self._answer(403, {"error": "You don't have the rights"})
            return
        assert wanted["type"] == "dataset"
        private = wanted.get("private", wanted.get("visibility") == "private")
        self.hub.create(name, bool(private))
        self._answer(200, {"url": f"{self.hub.url}/datasets/{name}", "name": name})

    def validate(self, _: bytes) -> None:
        self._answer(200, {"errors": [], "warnings": []})

    def info(self, _: bytes, name: str, revision: str | None = None) -> None:
        if (found := self._repository(name, revision)) is None:
            return
        siblings = [{"rfilename": p, "size": len(d)} for p, d in found.files(revision).items()]
        sha = found.head if revision in (None, "main") else revision
        self._answer(
            200,
            {"id": name, "sha": sha, "private": found.private, "siblings": siblings, "tags": []},
        )

    def preupload(self, body: bytes, name: str, _: str) -> None:
        if (found := self._repository(name)) is None:
            return
        there = found.files()
        answers = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["size"] > SMALL else "regular",
                "shouldIgnore": False,
                "oid": self._oid(there.get(file["path"])),
            }
            for file in json.loads(body)["files"]
        ]
        self._answer(200, {"files": answers})

    @staticmethod
    def _oid(data: bytes | None) -> str | None:
        if data is None:
            return None
        return hashlib.sha256(data).hexdigest() if len(data) > SMALL else _git_oid(data)

    def batch(self, body: bytes, _: str) -> None:
        objects = []
        for wanted in json.loads(body)["objects"]:
            entry = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.hub.objects:
                entry["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{wanted['oid']}"}}
            objects.append(entry)
        self._answer(200, {"transfer": "basic", "objects": objects})

    def store(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            self._answer(422, {"error": "other content"})
            return
        self.hub.objects[oid] = body
        self._answer(200)

    def make_commit(self, body: bytes, name: str, _: str) -> None:
        changes: dict[str, bytes | None] = {}
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                changes[value["path"]] = self.hub.objects[value["oid"]]
            elif entry["key"] == "deletedFile":
                changes[value["path"]] = None
            else:
                assert entry["key"] == "header"
        oid = self.hub.commit(name, changes)
        url = f"{self.hub.url}/datasets/{name}/commit/{oid}"
        self._answer(200, {"commitUrl": url, "commitOid": oid, "pullRequestUrl": None})

    def resolve(self, _: bytes, name: str, revision: str, path: str) -> None:
        if (found := self._repository(name, revision)) is None:
            return
        files = found.files(revision)
        if path not in files:
            self._answer(404, {"error": "no"}, **{"X-Error-Code": "EntryNotFound"})
            return
        data = files[path]
        sha = found.head if revision == "main" else revision
        headers = {"X-Repo-Commit": sha, "ETag": f'"{self._oid(data)}"', "Accept-Ranges": "bytes"}
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if start:
            first = int(start[1])
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
            self._bytes(206, data[first:], headers)
        else:
            self._bytes(200, data, headers)


_ROUTES = [
    ("/api/whoami-v2", _Handler.whoami),
    ("/api/repos/create", _Handler.create_repository),
    ("/api/validate-yaml", _Handler.validate),
    (r"/api/datasets/([^/]+/[^/]+)/preupload/(.+)", _Handler.preupload),
    (r"/api/datasets/([^/]+/[^/]+)/commit/(.+)", _Handler.make_commit),
    (r"/api/datasets/([^/]+/[^/]+)/revision/(.+)", _Handler.info),
    (r"/api/datasets/([^/]+/[^/]+)", _Handler.info),
    (r"/datasets/([^/]+/[^/]+)\.git/info/lfs/objects/batch", _Handler.batch),
    (r"/lfs/([0-9a-f]{64})", _Handler.store),
    (r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", _Handler.resolve),
]


@contextmanager
def serve() -> Iterator[Hub]:
    """Serve a stand-in on a free port of the loopback interface."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
