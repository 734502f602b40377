"""What measurements of a finished study work with: its tokens and pictures, workers, a memory.

A measurement asks for many small calls of one function. Each gets a `Source`, opens the study and
the model there, uses one thread, and returns arrays; they are kept in a working folder of the
study until the measurement is done, so that one that was stopped goes on where it stopped. Calls do
not depend on each other, and so not on the number of workers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cgraph.errors import ImageError
from cgraph.executors import Executor
from cgraph.images import pixel_hash
from cgraph.manifest import MANIFEST, STAGES
from cgraph.picture_source import picture, refuse_planted
from cgraph.store import read_tensors, remove_folder, to_json, write_bytes, write_tensors
from cgraph.study import Study
from cgraph.tracing import load_model

if TYPE_CHECKING:
    from PIL.Image import Image

    from cgraph.vit import VisionModel

WORKING = ".measuring"
"""Sub-folder of a study with what is not finished."""

BATCH = 64
"""Images that go through the network at once."""

_BLOCK = 256  # images whose tokens lie in one file

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Source:
    """Where a worker finds what it measures; small, and the same on every worker.

    Attributes
    ----------
    folder : Path
        The study.
    images : str or None
        Where its images lie now; where they lay when it was built if None.
    """

    folder: Path
    images: str | None = None

    @property
    def study(self) -> Study:
        """The study, opened once in each process, and anew when it was changed."""
        status = (self.folder / MANIFEST).stat()  # files are replaced, never written over
        return _study(self.folder, (status.st_ino, status.st_mtime_ns, status.st_size))

    @property
    def model(self) -> VisionModel:
        """The study's model, loaded once in each process."""
        return _model(self.folder, self.study.manifest.model["weights_sha256"])

    def pixels(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return pictures of the study, prepared for the network.

        Parameters
        ----------
        rows : sequence of int
            Rows of the study.

        Returns
        -------
        ndarray of float32, shape (n, *model.pixel_shape)

        Raises
        ------
        ImageError
            If a picture cannot be had, or is not the one that the study was built with.
        """
        pictures = self._pictures(rows)  # before the model, which takes longer to load
        return self.model.preprocess(pictures)

    def shown(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return pictures of the study as the network is shown them: resized, and still pictures.

        Returns
        -------
        ndarray of uint8, shape (n, height, width, 3)

        Raises
        ------
        ImageError
            As `pixels`.
        ModelError
            If the model takes patches of pictures of any size.
        """
        pictures = self._pictures(rows)
        return self.model.levels.shown(pictures)

    def _pictures(self, rows: Sequence[int] | np.ndarray) -> list[Image]:
        study, pictures = self.study, []
        for row in map(int, rows):
            found = picture(study, row, self.images)
            if pixel_hash(found) != study.pixel_hashes[row]:
                raise ImageError(
                    f"{study.image_ids[row]!r} is not the picture that the study {study.name!r} "
                    "was built with. Give the place of the study's own images with --images."
                )
            pictures.append(found)
        return pictures


@lru_cache(maxsize=2)
def _study(folder: Path, state: tuple[int, int, int]) -> Study:
    return Study.open(folder)


@lru_cache(maxsize=2)
def _model(folder: Path, weights: str) -> VisionModel:
    return load_model(Study.open(folder))


class Workbench:
    """A study to be measured.

    Parameters
    ----------
    study : Study
        In a folder of this machine.
    executor : Executor
        Where calls run.
    images : str, optional
        Where the study's images lie now.
    seed : int
        Of every random step of the measurements; the study's own if left out.
    on_start : callable, optional
        Called with the number of calls and how many of them are done already.
    on_advance : callable, optional
        Called after each further call.
    """

    def __init__(
        self,
        study: Study,
        executor: Executor,
        *,
        images: str | None = None,
        seed: int | None = None,
        on_start: Callable[[int, int], None] = lambda total, done: None,
        on_advance: Callable[[], None] = lambda: None,
    ) -> None:
        self.study = study
        self.seed = study.config.seed if seed is None else seed
        self.source = Source(study.path, images)
        self._executor = executor
        self._on_start, self._on_advance = on_start, on_advance
        self._claim_folder()

    @property
    def folder(self) -> Path:
        """The working folder."""
        return self.study.path / WORKING

    def _claim_folder(self) -> None:
        """Remove what was left by another seed, or by measurements of another build."""
        built = {p: r.sha256 for p, r in self.study.manifest.files.items() if r.stage in STAGES}
        mark = to_json({"seed": self.seed, "files": built})
        path = self.folder / "of.json"
        if not path.is_file() or path.read_bytes() != mark:
            remove_folder(self.folder)
            write_bytes(path, mark)

    def need_pictures(self) -> None:
        """Refuse a study whose pictures or model cannot be had, before any work.

        Raises
        ------
        ImageError, ModelError
        """
        refuse_planted(self.study)
        self.source.pixels([0])

    @cached_property
    def model(self) -> VisionModel:
        """The study's model, in this process."""
        return self.source.model

    def run(
        self,
        name: str,
        function: Callable[..., Arrays],
        calls: Sequence[tuple[Any, ...]],
        *,
        read: bool = True,
    ) -> list[Arrays]:
        """Call a function many times, on all workers, but for calls whose arrays are kept already.

        Parameters
        ----------
        name : str
            Of a sub-folder; the same function and meaning of the calls for ever.
        function : callable
            Of a module; called with a `Source` and the arguments of a call. It returns arrays.
        calls : sequence of tuple
            Plain values: numbers, texts, tuples of them, and arrays.
        read : bool
            Whether the arrays are wanted now.

        Returns
        -------
        list of dict of str to ndarray
            In the order of the calls; empty if not wanted.
        """
        paths = [self.folder / name / f"{_key(call)}.safetensors" for call in calls]
        todo = [n for n, path in enumerate(paths) if not path.is_file()]
        self._on_start(len(calls), len(calls) - len(todo))
        arguments = [(function, self.source, str(paths[n]), calls[n]) for n in todo]
        for _ in self._executor.run(_perform, arguments):
            self._on_advance()
        return [read_tensors(path) for path in paths] if read else []

    def tokens(self, part: str, layer: int) -> np.ndarray:
        """Return the tokens of all images of one part of the split; the network runs once.

        Parameters
        ----------
        part : str
            ``train``, ``tune`` or ``held-out``.
        layer : int
            1 … L.

        Returns
        -------
        ndarray of float32, shape (n_images, d_model)
            Rows as in ``study.rows(part)``. Last bits may differ from those of the build.
        """
        rows = self.study.rows(part)
        calls = [
            (part, start, min(start + _BLOCK, len(rows))) for start in range(0, len(rows), _BLOCK)
        ]
        paths = [self.folder / "tokens" / f"{_key(call)}.safetensors" for call in calls]
        if not all(path.is_file() for path in paths):
            self.run("tokens", _tokens, calls, read=False)
        name = _token_name(layer)
        found = [read_tensors(path, name)[name] for path in paths]
        return np.concatenate([np.empty((0, self.study.d_model), np.float32), *found])


def _perform(
    function: Callable[..., Arrays], source: Source, path: str, call: tuple[Any, ...]
) -> None:
    write_tensors(Path(path), function(source, *call))


def _tokens(source: Source, part: str, start: int, end: int) -> Arrays:
    rows = source.study.rows(part)[start:end]
    blocks = [
        source.model.class_tokens(source.pixels(rows[first : first + BATCH]))
        for first in range(0, len(rows), BATCH)
    ]
    tokens = np.concatenate(blocks, axis=1)
    return {_token_name(layer): tokens[layer - 1] for layer in range(1, source.study.n_layers + 1)}


def _token_name(layer: int) -> str:
    return f"layer-{layer:03d}"


def _key(call: tuple[Any, ...]) -> str:
    digest = hashlib.sha256()
    for value in call:
        if isinstance(value, np.ndarray):
            digest.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
        else:
            digest.update(repr(value).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:32]
