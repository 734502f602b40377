"""An object store for tests: one file for each object in a flat folder, put and got as a whole.

fsspec finds it as it finds every store's package, by an entry point; `install` writes one into a
folder for PYTHONPATH, so that worker processes find it too.
"""

from __future__ import annotations

import io
import os
import secrets
import shutil
from pathlib import Path
from urllib.parse import quote, unquote

from fsspec import AbstractFileSystem

ROOT = "WHOLE_OBJECTS_ROOT"


class WholeObjects(AbstractFileSystem):
    """Objects of several processes; no folders, no appending, no listing kept from before."""

    protocol = "whole"
    cachable = False

    def _file(self, path: str) -> Path:
        return Path(os.environ[ROOT]) / quote(self._strip_protocol(path).strip("/"), safe="")

    def _objects(self) -> dict[str, int]:
        with os.scandir(os.environ[ROOT]) as entries:
            found = [entry for entry in entries if not entry.name.startswith(".")]
            return {unquote(entry.name): entry.stat().st_size for entry in found}

    def ls(self, path, detail=True, **kwargs):
        start = self._strip_protocol(path).strip("/")
        entries: dict[str, dict] = {}
        for name, size in self._objects().items():
            if name == start:
                entries[name] = {"name": name, "size": size, "type": "file"}
            elif name.startswith(f"{start}/"):
                rest = name[len(start) + 1 :]
                below = f"{start}/{rest.partition('/')[0]}"
                kind = "directory" if "/" in rest else "file"
                entries[below] = {"name": below, "size": size, "type": kind}
        if not entries:
            raise FileNotFoundError(path)
        return sorted(entries.values(), key=lambda e: e["name"]) if detail else sorted(entries)

    def info(self, path, **kwargs):
        name = self._strip_protocol(path).strip("/")
        try:
            size = self._file(path).stat().st_size
            return {"name": name, "size": size, "type": "file"}
        except FileNotFoundError:
            self.ls(path)
            return {"name": name, "size": 0, "type": "directory"}

    def modified(self, path):
        import datetime

        return datetime.datetime.fromtimestamp(self._file(path).stat().st_mtime, datetime.UTC)

    def cat_file(self, path, start=None, end=None, **kwargs):
        return self._file(path).read_bytes()[start:end]

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        file = self._file(path)
        temporary = file.with_name(f".{secrets.token_hex(8)}")
        temporary.write_bytes(value)
        try:
            if mode == "create":
                os.link(temporary, file)  # refused where there is one
            else:
                os.replace(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)

    def rm_file(self, path):
        self._file(path).unlink()

    def rm(self, path, recursive=False, maxdepth=None):
        start = self._strip_protocol(path).strip("/")
        found = [n for n in self._objects() if n == start or n.startswith(f"{start}/")]
        if not found:
            raise FileNotFoundError(path)
        for name in found:
            self._file(name).unlink(missing_ok=True)

    def _open(self, path, mode="rb", **kwargs):
        if mode != "rb":
            raise NotImplementedError("objects are put as a whole")
        return io.BytesIO(self.cat_file(path))


def install(folder: Path) -> str:
    """Write this module with its entry point into a folder; return a PYTHONPATH with it."""
    shutil.copy(__file__, folder / "whole_objects.py")
    about = folder / "whole_objects-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: whole-objects\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[fsspec.specs]\nwhole = whole_objects:WholeObjects\n")
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
