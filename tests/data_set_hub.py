"""The part of the Hub's API that reading a data set needs, on this machine."""

from __future__ import annotations

import hashlib
import json
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from local_server import Answer, Asked, Server, serving

MAIN = "main"


class Hub:
    """Data sets by id; each has revisions, and a revision has files and a card.

    `repositories` maps an id to a mapping of revisions to ``(files, card)``.
    """

    def __init__(self, repositories: dict[str, dict[str, tuple[dict[str, bytes], dict]]]) -> None:
        self.repositories = repositories
        self.gated: set[str] = set()
        self.server: Server = None  # type: ignore[assignment]

    def fetched(self, name: str = "") -> int:
        """Return how many bytes were sent of files whose path holds a text."""
        return sum(n for path, n in self.sent if name in path)

    def __call__(self, asked: Asked) -> Answer:
        path, _, _ = asked.path.partition("?")
        parts = [urllib.parse.unquote(part) for part in path.strip("/").split("/")]
        if parts[:2] == ["api", "datasets"]:
            return self._api("/".join(parts[2:4]), parts[4:], asked)
        if parts[0] == "datasets" and parts[3:4] == ["resolve"]:
            return self._file("/".join(parts[1:3]), parts[4], "/".join(parts[5:]), asked)
        return Answer(b"", 404)

    def _api(self, repository: str, rest: list[str], asked: Asked) -> Answer:
        if repository in self.gated:
            return Answer(b"{}", 403, {"X-Error-Code": "GatedRepo"})
        if repository not in self.repositories:
            return Answer(b"{}", 404, {"X-Error-Code": "RepoNotFound"})
        kind, revision = rest[0] if rest else "revision", rest[1] if len(rest) > 1 else MAIN
        found = self._revision(repository, revision)
        if found is None:
            return Answer(b"{}", 404, {"X-Error-Code": "RevisionNotFound"})
        commit, files, card = found
        if kind == "revision":
            siblings = [{"rfilename": name} for name in files]
            return _json({"id": repository, "sha": commit, "cardData": card, "siblings": siblings})
        if kind == "tree":
            within = "/".join(rest[2:])
            chosen = {
                n: d for n, d in files.items() if n.startswith(f"{within}/" if within else "")
            }
            return _json([_entry(name, data) for name, data in chosen.items()])
        return Answer(b"", 404)

    def _revision(self, repository: str, revision: str) -> tuple[str, dict, dict] | None:
        for name, (files, card) in self.repositories[repository].items():
            commit = commit_of(name, files)
            if revision in (name, commit):
                return commit, files, card
        return None

    def _file(self, repository: str, revision: str, name: str, asked: Asked) -> Answer:
        found = self._revision(repository, revision)
        if found is None or name not in found[1]:
            return Answer(b"", 404, {"X-Error-Code": "EntryNotFound"})
        data = found[1][name]
        headers = {
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Repo-Commit": found[0],
            "Accept-Ranges": "bytes",
        }
        given = asked.headers.get("Range") or asked.headers.get("range")
        if given and asked.method == "GET":
            start, end = given.removeprefix("bytes=").split("-")
            stop = int(end) + 1 if end else len(data)
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
            self.sent.append((name, stop - int(start)))
            return Answer(data[int(start) : stop], 206, headers)
        if asked.method == "GET":
            self.sent.append((name, len(data)))
        return Answer(data, 200, headers)

    sent: list[tuple[str, int]]


def commit_of(revision: str, files: dict[str, bytes]) -> str:
    """Return the commit that a revision of such files is."""
    digest = hashlib.sha1(revision.encode())
    for name, data in sorted(files.items()):
        digest.update(name.encode() + data)
    return digest.hexdigest()


def _entry(name: str, data: bytes) -> dict[str, Any]:
    sha = hashlib.sha256(data).hexdigest()
    lfs = {"oid": sha, "size": len(data), "pointerSize": 134}
    return {"type": "file", "path": name, "size": len(data), "oid": sha[:40], "lfs": lfs}


def _json(value: Any) -> Answer:
    return Answer(json.dumps(value).encode(), 200, {"Content-Type": "application/json"})


@contextmanager
def hub(repositories: dict[str, dict[str, tuple[dict[str, bytes], dict]]]) -> Iterator[Hub]:
    """Run a stand-in for the Hub while the block runs."""
    stand_in = Hub(repositories)
    stand_in.sent = []
    with serving({}) as server:
        server.fallback = stand_in
        stand_in.server = server
        yield stand_in
