"""The image that somebody brought, kept in the session: received, waiting to be traced, on show."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import streamlit as st
from PIL.Image import Image

from cgraph.decoding import load_image
from cgraph.errors import CgraphError
from cgraph.study import Study
from cgraph.ui import state

_PENDING = "uploads.pending"
_CURRENT = "uploads.current"
_PROBLEM = "uploads.problem"


@dataclass(frozen=True)
class Upload:
    """An image that somebody brought, and the study that it was traced in."""

    study: str
    name: str
    digest: str
    image: Image


def receive(key: str) -> None:
    """Take the file of an uploader to be traced next, or note why it is refused; a callback."""
    file = st.session_state[key]
    if file is None:
        return
    data = file.getvalue()
    try:
        image = load_image(data, file.name)
    except CgraphError as error:
        st.session_state[_PROBLEM] = str(error)
        return
    digest = hashlib.sha256(data).hexdigest()
    st.session_state[_PENDING] = Upload("", file.name, digest, image)


def take_problem() -> str | None:
    """Return why the last file was refused, once."""
    return st.session_state.pop(_PROBLEM, None)


def take_pending() -> Upload | None:
    """Return the image that is to be traced now, once."""
    return st.session_state.pop(_PENDING, None)


def keep(upload: Upload, study: Study) -> None:
    """Keep an image that was traced in a study, for the runs that follow."""
    st.session_state[_CURRENT] = replace(upload, study=study.name)


def drop() -> None:
    """Forget the image that was kept."""
    st.session_state.pop(_CURRENT, None)


def kept_in(study: Study) -> Upload | None:
    """Return the image that was last uploaded and traced in a study."""
    upload: Upload | None = st.session_state.get(_CURRENT)
    return upload if upload is not None and upload.study == study.name else None


def take_to(study: str) -> None:
    """Open another study and trace the image there; a callback."""
    upload: Upload | None = st.session_state.get(_CURRENT)
    if upload is not None:
        st.session_state[_PENDING] = upload
    state.write(state.Selection(study=study))
