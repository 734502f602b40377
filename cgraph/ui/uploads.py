"""Images that somebody brought, kept in the session: received, waiting to be traced, on show.

An upload has an image id like any other, ``upload:`` and the beginning of its hash, so that the
back button finds it and it can be compared with others. It lives as long as the session: a link
leads nobody else to it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import streamlit as st
from PIL.Image import Image

from cgraph.decoding import load_image
from cgraph.errors import CgraphError

PREFIX = "upload:"
MOST_KEPT = 24
"""Most uploads that a session keeps; the oldest go first."""

_PENDING = "uploads.pending"
_KEPT = "uploads.kept"
_PROBLEMS = "uploads.problems"
_ROUND = "uploads.round"


@dataclass(frozen=True)
class Upload:
    """An image that somebody brought.

    Attributes
    ----------
    name : str
        Name of its file.
    digest : str
        SHA-256 of its file.
    image : PIL.Image.Image
        RGB.
    """

    name: str
    digest: str
    image: Image = field(repr=False)

    @property
    def image_id(self) -> str:
        """What stands for it in the selection."""
        return PREFIX + self.digest[:12]


def uploader_key(prefix: str) -> str:
    """Return the key of an uploader that is empty again after every receipt."""
    return f"{prefix}.{st.session_state.get(_ROUND, 0)}"


def receive(key: str) -> None:
    """Take the files of an uploader to be traced next, and note why some are refused; a callback.

    Files that are no images cost a sentence each; the others are traced.
    """
    files = st.session_state[key] or []
    received, problems = [], []
    if len(files) > MOST_KEPT:
        problems.append(
            f"{len(files)} files were brought at once; the first {MOST_KEPT} are traced here. "
            "For many images use `cgraph trace`."
        )
    for file in files[:MOST_KEPT]:
        data = file.getvalue()
        try:
            image = load_image(data, file.name)
        except CgraphError as error:
            problems.append(str(error))
            continue
        received.append(Upload(file.name, hashlib.sha256(data).hexdigest(), image))
    st.session_state[_PENDING] = received
    st.session_state[_PROBLEMS] = problems
    st.session_state[_ROUND] = st.session_state.get(_ROUND, 0) + 1


def take_problems() -> list[str]:
    """Return why files were refused, once."""
    return st.session_state.pop(_PROBLEMS, [])


def take_pending() -> list[Upload]:
    """Return the images that are to be traced now, once."""
    return st.session_state.pop(_PENDING, [])


def keep(upload: Upload) -> None:
    """Keep an image for the runs that follow."""
    kept: dict[str, Upload] = st.session_state.setdefault(_KEPT, {})
    kept.pop(upload.image_id, None)
    kept[upload.image_id] = upload
    while len(kept) > MOST_KEPT:
        del kept[next(iter(kept))]


def kept() -> list[Upload]:
    """Return the uploads of this session, the first one first."""
    return list(st.session_state.get(_KEPT, {}).values())


def find(image_id: str | None) -> Upload | None:
    """Return the upload that an image id stands for, if the session has it."""
    found: Upload | None = st.session_state.get(_KEPT, {}).get(image_id)
    return found


def drop(image_id: str) -> None:
    """Forget an upload."""
    st.session_state.get(_KEPT, {}).pop(image_id, None)


def trace_again(upload: Upload) -> None:
    """Let an upload be traced on the next run, as if it had just been brought."""
    st.session_state[_PENDING] = [upload]
