"""Which image to look at: the study's examples, its other held-out images, or one's own."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from html import escape

import streamlit as st

from cgraph.study import Study
from cgraph.ui import gallery, uploads
from cgraph.ui.components.image_grid import GridImage, image_grid
from cgraph.ui.thumbnails import picture_uri, thumbnail_uri
from cgraph.ui.traced import TracedImage

PAGE_LENGTH = 14
_STRIP_PX = 96

_EXAMPLES = "choice.examples"
_HELD_OUT = "choice.held-out"
_PAGE = "choice.page"
_UPLOADER = "choice.uploader"
_UPLOADS = "choice.uploads"


def image_choice(study: Study, traced: TracedImage, *, on_image: Callable[[str], None]) -> None:
    """Show what else can be traced, as tabs.

    Parameters
    ----------
    study : Study
    traced : TracedImage
        The image on show, which is marked where it is listed.
    on_image : callable
        Called with the id of the image that somebody chose.
    """
    examples = list(study.examples)
    names = ["Examples"] * bool(examples) + ["All held-out images", "Upload your own"]
    place = -1 if traced.row is None else 0 if traced.row in examples else -2
    tabs = dict(zip(names, st.tabs(names, default=names[place]), strict=True))
    if examples:
        with tabs["Examples"]:
            _strip(study, examples, traced, "Examples", _EXAMPLES, on_image)
    with tabs["All held-out images"]:
        _held_out(study, traced, on_image)
    with tabs["Upload your own"]:
        _upload(traced, on_image)


def _strip(
    study: Study,
    rows: Sequence[int],
    traced: TracedImage,
    label: str,
    key: str,
    on_image: Callable[[str], None],
) -> None:
    image_grid(
        [
            GridImage(
                study.image_ids[row],
                gallery.image_title(study, row)[0],
                thumbnail_uri(study, row, _STRIP_PX),
            )
            for row in rows
        ],
        label=label,
        key=key,
        on_pick=lambda: on_image(st.session_state[key]["picked"]),
        selected=traced.image_id,
    )


def _held_out(study: Study, traced: TracedImage, on_image: Callable[[str], None]) -> None:
    rows = gallery.held_out_rows(study)
    n_pages = -(-len(rows) // PAGE_LENGTH)
    place = rows.index(traced.row) if traced.row in rows else 0
    page = st.session_state.get(_PAGE)
    if page is None or page[0] != (study.name, traced.row):
        page = ((study.name, traced.row), place // PAGE_LENGTH)
        st.session_state[_PAGE] = page
    first = (page[1] % n_pages) * PAGE_LENGTH
    shown = rows[first : first + PAGE_LENGTH]
    _strip(study, shown, traced, "Held-out images", _HELD_OUT, on_image)
    with st.container(key="cg-pages", horizontal=True, vertical_alignment="center", gap="small"):
        alone = n_pages < 2
        st.button("← Previous", on_click=_turn, args=(page, -1), disabled=alone, type="tertiary")
        st.html(
            f"<span class='cg-quiet'>{first + 1:,} to {first + len(shown):,} of {len(rows):,}"
            "</span>",
            width="content",
        )
        st.button("Next →", on_click=_turn, args=(page, 1), disabled=alone, type="tertiary")
        st.button(
            "Random image",
            on_click=lambda: on_image(study.image_ids[random.choice(rows)]),
            type="tertiary",
        )


def _turn(page: tuple[tuple[str, int | None], int], step: int) -> None:
    st.session_state[_PAGE] = (page[0], page[1] + step)


def _upload(traced: TracedImage, on_image: Callable[[str], None]) -> None:
    from cgraph.tracing import missing_model

    if missing := missing_model(traced.study):
        st.html(
            "<p class='cg-quiet' role='status'>Images that you bring cannot be traced here. "
            f"{escape(missing)}</p>"
        )
    with st.container(key="cg-upload", horizontal=True, vertical_alignment="center", gap="medium"):
        key = uploads.uploader_key(_UPLOADER)
        # Without a list of types: the browser would refuse a file and not say why.
        st.file_uploader(
            "PNG, JPEG, WebP, GIF, BMP or TIFF images, one or many. They stay on this machine.",
            max_upload_size=20,
            key=key,
            accept_multiple_files=True,
            on_change=uploads.receive,
            args=(key,),
            width=540,
        )
    kept = uploads.kept()
    if kept:
        image_grid(
            [
                GridImage(upload.image_id, upload.name, picture_uri(upload.image, _STRIP_PX))
                for upload in kept
            ],
            label="Your uploads",
            key=_UPLOADS,
            on_pick=lambda: on_image(st.session_state[_UPLOADS]["picked"]),
            selected=traced.image_id,
        )
