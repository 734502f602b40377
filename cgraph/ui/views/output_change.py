"""What the whole model says before and after: its top classes, or likeness to typed texts."""

from __future__ import annotations

import dataclasses
from html import escape

import numpy as np
import streamlit as st

from cgraph.concept import ConceptId
from cgraph.errors import CgraphError
from cgraph.outputs import CLASSES, LONGEST_TEXT, MOST_TEXTS, Output, kind_of_output, load_output
from cgraph.redrawing import SceneChange, is_drawn, scene_of
from cgraph.ui import edit_link, words
from cgraph.ui.answers import LOADING, Question
from cgraph.ui.edit_link import EditView
from cgraph.ui.models import shelf
from cgraph.ui.resources import StudyEntry
from cgraph.ui.terms import term
from cgraph.ui.views.agreement_table import MEASURED

N_CLASSES = 8
"""Most classes that are shown: the first ones before and after."""

_TEXTS = "cf.texts"


@st.cache_resource(max_entries=2, show_spinner="Loading the whole model …")
def _output(entry: StudyEntry, _asking: Question) -> Output | None:
    return load_output(shelf.get(entry, _asking.study))


def output_view(asking: Question, view: EditView, selected: ConceptId | None) -> None:
    """Show how the output of the model changes."""
    if asking.network.answer is None:
        text = (
            "The model is being loaded in the background; its output appears here by itself."
            if asking.network.problem == LOADING
            else asking.network.problem
        )
        st.html(f"<p class='cf-waiting' role='status'>{escape(text)}</p>")
        return
    try:
        if kind_of_output(shelf.get(asking.opened.entry, asking.study)) is None:
            st.html(
                "<p class='cg-quiet'>This model has neither a head for classes nor a text tower: "
                "it ends with its tokens, and the other views say what becomes of those.</p>"
            )
            return
        output = _output(asking.opened.entry, asking)
        if output is None:
            return
        texts: tuple[str, ...] = ()
        if output.kind != CLASSES:
            texts = _texts(asking, view)
        columns = _scores(asking, output, texts)
    except CgraphError as error:
        st.error(words.plain(f"The output cannot be shown. {error}"))
        return
    names = output.class_names if output.kind == CLASSES else texts
    st.html(_sentence(output.kind, columns, names) + _table(output.kind, columns, names))


def _texts(asking: Question, view: EditView) -> tuple[str, ...]:
    """Return the texts to compare with, which can be typed here."""
    texts = view.texts or _first_texts(asking)
    st.session_state[_TEXTS] = "\n".join(texts)
    st.text_area(
        f"Texts to compare the image with, one a line (at most {MOST_TEXTS})",
        key=_TEXTS,
        on_change=_typed,
        args=(asking, view),
        height=118,
    )
    return texts


def _typed(asking: Question, view: EditView) -> None:
    lines = (line.replace("|", " ").strip() for line in st.session_state[_TEXTS].splitlines())
    texts = tuple(line[:LONGEST_TEXT] for line in lines if line)[:MOST_TEXTS]
    written, _ = edit_link.read(asking.study)
    edit_link.write(asking.study, dataclasses.replace(written, texts=texts), remember=False)


def _first_texts(asking: Question) -> tuple[str, ...]:
    """Return texts to begin with: the objects of a scene, as they are and as they are changed."""
    traced = asking.traced
    if traced is None or traced.row is None or not is_drawn(asking.study):
        return ("a photo of a dog", "a photo of a cat", "a photo of a car", "a photo of a person")
    scene = scene_of(asking.study, traced.row)
    scenes = [scene]
    if asking.redraw is not None:
        scenes.append(SceneChange.parse(asking.redraw).apply(scene))
    found = [f"a {o.colour} {o.shape}" for s in scenes for o in s.objects]
    return tuple(dict.fromkeys([*found, *(f"a {s.background} scene" for s in scenes)]))


def _scores(
    asking: Question, output: Output, texts: tuple[str, ...]
) -> list[tuple[str, np.ndarray]]:
    """Return what the model says of the image, of the edited run, and of the picture redrawn."""
    pixels = asking.pixels()
    _, edited = asking.runs()
    columns = [
        ("before", output.scores(pixels, texts=texts)[0]),
        ("network, edited", output.scores(pixels, edited.added, texts)[0]),
    ]
    if asking.redraw is not None and asking.redrawn.answer is not None:
        columns.append(
            ("picture drawn again", output.scores(asking.pixels(asking.redraw), texts=texts)[0])
        )
    return columns


def _sentence(kind: str, columns: list[tuple[str, np.ndarray]], names: tuple[str, ...]) -> str:
    first, after = (names[int(scores.argmax())] for _, scores in columns[:2])
    what = "class" if kind == CLASSES else "text"
    if first == after:
        text = f"The edit leaves the first {what} as it is: <b>{escape(first)}</b>."
    else:
        text = (
            f"The edit changes the first {what} from <b>{escape(first)}</b> to "
            f"<b>{escape(after)}</b>."
        )
    moves = columns[1][1] - columns[0][1]
    most = int(np.abs(moves).argmax())
    if abs(moves[most]) >= 0.005:
        values = (_number(kind, float(scores[most])) for _, scores in columns[:2])
        text += f" <b>{escape(names[most])}</b> moves most, from {' to '.join(values)}."
    return f"<p class='cg-sentence'>{MEASURED} {term('measured', 'Measured')}. {text}</p>"


def _number(kind: str, value: float) -> str:
    return words.percent(value) if kind == CLASSES else f"{value:.2f}".replace("-", "−")


def _table(kind: str, columns: list[tuple[str, np.ndarray]], names: tuple[str, ...]) -> str:
    if kind == CLASSES:
        best = [int(n) for _, scores in columns for n in np.argsort(-scores)[:5]]
        shown = list(dict.fromkeys(best))[:N_CLASSES]
    else:
        shown = list(range(len(names)))
    heads = "".join(f"<th scope='col' colspan='2'>{escape(label)}</th>" for label, _ in columns)
    largest = max(float(scores[n]) for _, scores in columns for n in shown) or 1.0
    rows = []
    for n in shown:
        cells = ""
        for place, (_, scores) in enumerate(columns):
            value = float(scores[n])
            width = max(0.0, 90 * value / largest) if largest > 0 else 0.0
            text = _number(kind, value)
            style = "cf-bar cf-before" if place == 0 else "cf-bar"
            cells += (
                f"<td class='cf-number'>{text}</td><td><span class='{style}' "
                f"style='width:{width:.0f}px'></span></td>"
            )
        rows.append(f"<tr><th scope='row'>{escape(names[n])}</th>{cells}</tr>")
    unit = "probability" if kind == CLASSES else "cosine of image and text, −1 to 1"
    return (
        f"<div class='cf-scroll'><table class='cf-table'><caption class='cg-quiet'>{unit}</caption>"
        f"<thead><tr><th scope='col'>{'class' if kind == CLASSES else 'text'}</th>{heads}</tr>"
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
