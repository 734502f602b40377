"""What is said when an image is unlike all that a study has seen, and the ways on from there."""

from __future__ import annotations

from html import escape

import streamlit as st

from cgraph.study import Study
from cgraph.ui import state, uploads, words
from cgraph.ui.frame import OpenStudy
from cgraph.ui.traced import TracedImage

_BUILD = (
    "cgraph build --model path/to/vision-transformer --images path/to/images --out studies/mine"
)


def unlike_notice(opened: OpenStudy, traced: TracedImage) -> None:
    """Say that an upload is unlike the study's images, and offer other studies.

    Of drawn scenes it is said beside every upload, for not every photograph looks odd to them.
    Otherwise nothing is shown for an image that the study knows how to read.

    Parameters
    ----------
    opened : OpenStudy
    traced : TracedImage
    """
    if traced.row is not None or not (traced.is_unusual or is_drawn(opened.study)):
        return
    with st.container(key="cg-unlike", border=True):
        first, second = sentences(opened.study, unusual=traced.is_unusual)
        st.html(f"<p class='cg-sentence'><b>{escape(first)}</b> {escape(second)}</p>")
        with st.container(key="cg-ways", horizontal=True, vertical_alignment="center", gap="small"):
            for entry in opened.others:
                st.button(
                    words.plain(f"Trace it in study {entry.name}"),
                    key=f"unlike.{entry.name}",
                    on_click=_take_to,
                    args=(entry.name, traced.image_id),
                )
            kind = "photographs" if is_drawn(opened.study) else "such images"
            with st.popover(f"Build a study of {kind}", key="unlike.build"):
                st.markdown(
                    "A study needs the folder of a vision transformer that was trained on images "
                    "of that kind, and a few thousand of them in a folder or Parquet file. In a "
                    "terminal:"
                )
                st.code(_BUILD, language="bash", wrap_lines=True)
                st.markdown(
                    "Then reload this page: the study is listed at its top, and here beside this "
                    "button."
                )


def _take_to(study: str, image_id: str) -> None:
    """Open another study and trace the upload there; a callback."""
    upload = uploads.find(image_id)
    if upload is not None:
        uploads.trace_again(upload)
    state.write(state.Selection(study=study))


def sentences(study: Study, *, unusual: bool) -> tuple[str, str]:
    """Return what the study has seen, and what that means for another kind of image."""
    if is_drawn(study) and not unusual:
        return (
            "This study has only seen drawn scenes,",
            "and this image looks like one to it. If it is a photograph, read its trace with care.",
        )
    if is_drawn(study):
        return (
            "This study has only seen drawn scenes.",
            "A photograph gets a trace all the same, but in concepts learned from drawings, which "
            "need not mean the same here: read it with care.",
        )
    count = words.count(int(study.manifest.images["n"]), "image")
    return (
        f"This image is unlike the {count} this study was built from.",
        "It gets a trace all the same, but in concepts learned from other images, which need not "
        "mean the same here: read it with care.",
    )


def is_drawn(study: Study) -> bool:
    """Return whether the images of a study are drawn scenes."""
    return study.manifest.images.get("kind") == "drawn scenes"
