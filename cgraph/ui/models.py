"""Models of studies: loaded once for everybody, in the background once the first page is drawn.

Stored images need no model, and loading torch, transformers and a model takes seconds. So a page
shows first; a thread then loads them while nobody clicks, for the upload that may follow. An upload
that comes earlier waits for the same load. Whatever goes wrong in the background is left to the
upload, which tries again and says what is wrong.
"""

from __future__ import annotations

import atexit
import importlib
import threading
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

from cgraph.ui.resources import StudyEntry, spare_from_collection

if TYPE_CHECKING:
    from cgraph.study import Study
    from cgraph.vit import VisionModel

QUIET_SECONDS = 1.5
"""How long nobody must have asked for anything before the background takes its next step."""

_LIBRARIES = ("torch", "transformers")
_MOST = 2
_LONGEST_STEP = 20.0


class ModelShelf:
    """The models of the studies used last, at most two.

    One thread at a time loads; whoever comes meanwhile waits for it and finds the model there.
    """

    def __init__(self) -> None:
        self._models: dict[StudyEntry, VisionModel] = {}
        self._lock = threading.Lock()
        self._wanted = threading.Event()  # somebody waits, or the app ends: no more politeness
        self._ending = False
        self._last_request = time.monotonic()
        self._background: threading.Thread | None = None
        self._starting = threading.Lock()

    def get(self, entry: StudyEntry, study: Study) -> VisionModel:
        """Return the model of a study; the first time takes some seconds.

        Raises
        ------
        ModelError
            If it is not where the study says. The next call tries again.
        """
        if (model := self._models.get(entry)) is not None:
            return model
        self._wanted.set()
        with self._lock:
            return self._load(entry, study)

    def find(self, entry: StudyEntry) -> VisionModel | None:
        """Return the model of a study if it is loaded already."""
        return self._models.get(entry)

    @property
    def is_preparing(self) -> bool:
        """Whether the background is still loading."""
        return self._background is not None and self._background.is_alive()

    def _load(self, entry: StudyEntry, study: Study) -> VisionModel:
        from cgraph import tracing

        if entry not in self._models:
            model = tracing.load_model(study)
            while len(self._models) >= _MOST:
                del self._models[next(iter(self._models))]
            self._models[entry] = model
            spare_from_collection()
        return self._models[entry]

    def clear(self) -> None:
        """Forget all models."""
        self._models.clear()

    def note_request(self) -> None:
        """Note that somebody is waiting for an answer right now."""
        self._last_request = time.monotonic()

    def prepare(self, entry: StudyEntry, study: Study) -> None:
        """Load a model in the background; only the first call of a process does anything."""
        with self._starting:
            if self._background is not None:
                return
            self._background = threading.Thread(
                target=self._prepare, args=(entry, study), name="cgraph-model", daemon=True
            )
        # A thread that is inside an import when the interpreter ends can take it down. Finalizers
        # that torch makes meanwhile run only if there was one before the end began.
        weakref.finalize(self._background, bool)
        atexit.register(self._end)
        self._background.start()

    def _prepare(self, entry: StudyEntry, study: Study) -> None:
        from cgraph import tracing

        with suppress(Exception):  # the upload meets the same problem, and has somebody to tell
            tracing.model_folder(study)
            self._wait_until_quiet()
            with self._lock:
                for library in _LIBRARIES:
                    self._wait_until_quiet()
                    if self._ending:
                        return
                    importlib.import_module(library)
                self._wait_until_quiet()
                if not self._ending:
                    self._load(entry, study)

    def _wait_until_quiet(self) -> None:
        while (rest := self._last_request + QUIET_SECONDS - time.monotonic()) > 0:
            if self._wanted.wait(rest):
                return

    def _end(self) -> None:
        self._ending = True
        self._wanted.set()
        if self._background is not None:
            self._background.join(_LONGEST_STEP)


shelf = ModelShelf()
"""The models of this process."""
