"""What texts a concept is like, and the button that finds them for all concepts of a study."""

from __future__ import annotations

import time
from html import escape

import streamlit as st

from cgraph.concept import ConceptId
from cgraph.errors import CgraphError
from cgraph.progress import duration
from cgraph.study import Study
from cgraph.text_names import TextName
from cgraph.text_tower import has_text_tower
from cgraph.ui import resources, words
from cgraph.ui.terms import term
from cgraph.unpacked import archive_of

_ASKED = "text.asked"
_STOP = "leave the page to stop"


def text_figures(study: Study, concept: ConceptId) -> None:
    """Show the words that a concept is most like, or how they are found.

    Parameters
    ----------
    study : Study
    concept : ConceptId
    """
    found = study.naming.by_text
    if concept in found:
        st.html(_table(found[concept]))
    elif found:
        _quiet("By text: active in too few images to be compared.")
    else:
        _offer(study)


def _quiet(text: str) -> None:
    st.html(f"<p class='cg-quiet'>{text}</p>")


def _table(name: TextName) -> str:
    rows = "".join(
        f"<tr><th scope='row'>{escape(match.text)}</th><td>{words.fraction(match.score)}</td>"
        f"<td>{words.signed(match.margin)}</td></tr>"
        for match in name.matches
    )
    verdict = (
        "The first is far enough ahead to be a name."
        if name.text
        else "None is near or far enough ahead to be a name."
    )
    return (
        "<table class='cg-matches'><caption>By text: the words that its images are most like, on "
        f"{term('held_out')} images. {verdict}</caption><thead><tr><th>word</th>"
        f"<th>{term('correlation')}</th><th>ahead of the next</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def _offer(study: Study) -> None:
    from cgraph.tracing import missing_model, model_folder

    if missing := missing_model(study):
        _quiet(f"By text: not known without the model. {escape(missing)}")
        return
    if archive_of(study.path):
        _quiet(
            "By text: not looked for yet. The study is read from a zip file, which is not changed: "
            "<code>cgraph import</code> unpacks it, and there words can be found and kept."
        )
        return
    if not has_text_tower(model_folder(study)):
        _quiet("By text: this model knows no texts.")
        return
    if st.session_state.pop(_ASKED, None) == study.name and _find(study):
        resources.studies.clear()  # its manifest is another now, so it is opened anew
        st.rerun()
    _quiet(
        "By text: not looked for yet. It takes the study's images and its model; with a vocabulary "
        f"of your own: <code>cgraph names text {escape(str(study.path))} --vocabulary FILE</code>"
    )
    st.button("Find words for all concepts", on_click=_ask, args=(study,))


def _ask(study: Study) -> None:
    st.session_state[_ASKED] = study.name


def _find(study: Study) -> bool:
    """Find words. Clicks wait for it, and who leaves the page stops it: nothing is stored then."""
    from cgraph.text_naming import name_study_by_text

    bar = st.progress(0.0, f"Loading the model … {_STOP}")
    started = time.monotonic()

    def tell(done: int, total: int) -> None:
        left = (time.monotonic() - started) / done * (total - done)
        bar.progress(
            done / total, f"{done:,} of {total:,} images · {duration(left)} left · {_STOP}"
        )

    try:
        name_study_by_text(study, on_progress=tell)
    except CgraphError as error:
        st.error(words.plain(f"No words were stored. {error}"))
        return False
    finally:
        bar.empty()
    return True
