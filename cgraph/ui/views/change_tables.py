"""What an edit changes, layer by layer: three answers in columns, and before and after."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import streamlit as st

from cgraph.concept import ConceptId
from cgraph.counterfactual import Answer, ConceptChange, Kind
from cgraph.edit_tables import changes_csv
from cgraph.ui import gallery, state, words
from cgraph.ui.answers import LOADING, Measured, Question
from cgraph.ui.changed_drawing import APPEARS, BY_HAND, COUPLED, VANISHES
from cgraph.ui.components.concept_table import TableHead, TableRow, concept_table
from cgraph.ui.edit_link import EditView
from cgraph.ui.terms import term
from cgraph.ui.views.agreement_table import MEASURED, PREDICTED, agreement_table

MOST_IN_CELL = 10
"""Most concepts of one layer and answer that are shown; more are counted."""

MOST_RESTLESS, LEAST_MOVE = 3, 0.02
"""Most silent concepts of a layer that are shown for how far they moved, and the least move."""

SHARED = "✓"

BECAME = {
    "appeared": "appears",
    "vanished": "vanishes",
    "unchanged": "stays active",
    "silent": "stays silent",
}
"""What became of a concept, in words."""

_CHANGES = "cf.table.changes"
_STATES = "cf.table.states"
_SOURCE = "cf.source"


def changes_view(asking: Question, view: EditView, selected: ConceptId | None) -> None:
    """Show the changes of every later layer, a column for each answer."""
    columns: list[tuple[TableHead, Measured]] = [
        (TableHead(f"{PREDICTED} Graph: predicted"), Measured(asking.graph)),
        (TableHead(f"{MEASURED} Network, edited: measured"), asking.network),
    ]
    if asking.redraw is not None:
        head = TableHead(f"{MEASURED} Picture drawn again: measured")
        columns.append((head, asking.redrawn))
    problems(columns)
    st.html(f"<p class='cg-quiet'>{_legend(asking)}</p>")
    answers = [found.answer for _, found in columns]
    first = min(asking.edit.layers, default=asking.start)
    layers = range(first, asking.study.n_layers + 1)
    rows = [row_of(asking, layer, answers) for layer in layers]
    concept_table(
        [head for head, _ in columns],
        rows,
        gallery.looks(asking.study),
        label="Concepts that change, a row for each layer and a column for each answer",
        key=_CHANGES,
        on_pick=lambda: pick(asking, _CHANGES),
        selected=selected,
        roomy=True,
    )
    _target(asking)
    _figures(asking)
    with st.container(horizontal=True, gap="small", key="cf-downloads"):
        st.download_button(
            "Changes as CSV",
            lambda: _csv(asking).encode(),
            file_name=f"changes-{asking.study.name}.csv",
            mime="text/csv",
            on_click="ignore",
            type="tertiary",
            key="cf.csv",
        )


def _figures(asking: Question) -> None:
    """Show how far the answers agree, layer by layer, in named figures."""
    first = min(asking.edit.layers, default=asking.start) + 1
    layers = range(first, asking.study.n_layers + 1)
    parts = []
    for name, found in (("network", asking.network), ("redrawn", asking.redrawn)):
        if found.answer is not None and layers:
            answer = found.answer
            figures = [asking.agreement(asking.graph, answer, layer) for layer in layers]
            parts.append(("graph", name, figures))
    if parts:
        with st.expander("How far the answers agree on this image, in figures"):
            st.html(agreement_table(parts))


def pick(asking: Question, key: str) -> None:
    """Select the concept that was chosen in a table; a callback."""
    text = st.session_state[key]["picked"]
    if text:
        state.change(asking.study, concept=ConceptId.parse(text))


def _csv(asking: Question) -> str:
    answers = {"graph": asking.graph.states}
    for name, found in (("network", asking.network), ("redrawn", asking.redrawn)):
        if found.answer is not None:
            answers[name] = found.answer.states

    def name_of(concept: ConceptId) -> str:
        return gallery.concept_name(asking.study, concept)

    image = asking.image_key or "empty slate"
    return changes_csv([image], [asking.edit], answers, name_of)


def problems(columns: Sequence[tuple[TableHead, Measured]]) -> None:
    """Say why a column is empty; the same reason once."""
    said = set()
    for head, found in columns:
        if found.answer is None and found.problem not in said:
            said.add(found.problem)
            what = head.text.partition(" ")[2].partition(":")[0]
            if found.problem == LOADING:
                st.html(
                    "<p class='cf-waiting' role='status'>The model is being loaded in the "
                    "background. What the network does appears here by itself; the graph needs no "
                    "model.</p>"
                )
            else:
                st.html(
                    f"<p class='cf-waiting' role='status'><b>{escape(what)}: nothing was measured."
                    f"</b> {escape(found.problem)}</p>"
                )


def _legend(asking: Question) -> str:
    parts = [
        f"<b>{PREDICTED}</b> {term('predicted')} by the graph, as {term('probability')}",
        f"<b>{MEASURED}</b> {term('measured')} in the network, as {term('pre_activation')}",
        f"<b>{APPEARS}</b> appears",
        f"<b>{VANISHES}</b> vanishes",
        f"<b>{SHARED}</b> {term('shared_change', 'shared')} with the graph",
        f"<b>{BY_HAND}</b> set by hand",
    ]
    if asking.settings.rule == "top-k":
        parts.append(f"<b>{COUPLED}</b> only because k concepts are kept active")
    return " · ".join(parts)


def _target(asking: Question) -> None:
    """Say what the network's edit was added to, and what did not take."""
    answer = asking.network.answer
    if answer is None or not len(asking.edit):
        return
    text = (
        f"In the network the atom of a concept is added to the {escape(answer.target)} of its "
        "layer at its usual coefficient, or taken away by its own; patch tokens stay as they are "
        "there."
        if answer.target == "class token"
        else f"This study reads {escape(asking.study.manifest.token_words)}: in the network the "
        f"atom is added to, or taken from, {escape(answer.target)} of the layer."
    )
    if asking.study.manifest.token == "pooled":
        text += (
            " The pooling head then makes its own of the changed patches, so that the token moves "
            "otherwise than by the atom, and other concepts may change in the edited layer too."
        )
    if answer.not_taken:
        names = ", ".join(called(asking, concept) for concept in answer.not_taken)
        text += (
            f" <b>The token, encoded again, does not follow the edit for {escape(names)}</b>: what "
            "is active depends on the whole token."
        )
    st.html(f"<p class='cg-quiet'>{text}</p>")


def called(asking: Question, concept: ConceptId) -> str:
    """Return a concept as sentences name it."""
    name = gallery.concept_name(asking.study, concept)
    return f"{name} ({concept})" if name else str(concept)


def row_of(asking: Question, layer: int, answers: Sequence[Answer | None]) -> TableRow:
    """Return what several answers change in a layer; what the first has too is marked."""
    graph = answers[0]
    parts = [changed(answer, layer) for answer in answers]
    shown = [part[:MOST_IN_CELL] for part in parts]
    hidden = sum(map(len, parts)) - sum(map(len, shown))
    others = [graph if answer is not graph else None for answer in answers]
    return TableRow(
        lead=f"Layer {layer}",
        note=_agreement_note(asking, layer, answers, hidden),
        share=_overlap(asking, layer, answers),
        cells=[[change.concept for change in part] for part in shown],
        cell_notes=[
            {c.concept: _note(c, answer, other) for c in part}
            for part, answer, other in zip(shown, answers, others, strict=True)
        ],
        cell_labels=[
            {c.concept: _spoken(c, answer, other) for c in part}
            for part, answer, other in zip(shown, answers, others, strict=True)
        ],
    )


def changed(answer: Answer | None, layer: int) -> list[ConceptChange]:
    """Return what appeared or vanished in a layer; what was set by hand first."""
    if answer is None or not answer.states.has_layer(layer):
        return []
    changes = [c for kind in ("appeared", "vanished") for c in answer.changes(layer, _kind(kind))]
    by_hand = [
        answer.change(concept)
        for concept in answer.edit.of_layer(layer)
        if answer.change(concept).kind in ("unchanged", "silent")
    ]
    return sorted([*by_hand, *changes], key=lambda change: not change.by_hand)


def _kind(text: str) -> Kind:
    return "appeared" if text == "appeared" else "vanished"


def _note(change: ConceptChange, answer: Answer | None, graph: Answer | None) -> str:
    """Write what became of a concept: mark, direction, and the number before and after."""
    if answer is None:
        return ""
    is_graph = answer.source == "graph"
    mark = {"appeared": APPEARS, "vanished": VANISHES}.get(change.kind, "=")
    if change.from_fixed_number:
        mark += COUPLED
    hand = BY_HAND if change.by_hand else ""
    if is_graph:
        numbers = "" if change.by_hand else f" {_percent(change.before)}→{_percent(change.after)} %"
    else:
        numbers = f" {_plain(change.before)}→{_plain(change.after)}"
    shared = f" {SHARED}" if _is_shared(change, graph) else ""
    kind = PREDICTED if is_graph else MEASURED
    return f"{hand or kind}{mark}{numbers}{shared}"


def _is_shared(change: ConceptChange, graph: Answer | None) -> bool:
    """Return whether the graph has a change too."""
    if graph is None or not graph.states.has_layer(change.concept.layer):
        return False
    is_change = change.kind in ("appeared", "vanished")
    return is_change and graph.change(change.concept).kind == change.kind


def _spoken(change: ConceptChange, answer: Answer | None, graph: Answer | None) -> str:
    """Say what `_note` writes in signs."""
    if answer is None:
        return ""
    is_graph = answer.source == "graph"
    parts = [
        f"{'predicted' if is_graph else 'measured'}: {BECAME[change.kind]}",
        f"{words.percent(change.before)} before, {words.percent(change.after)} after"
        if is_graph
        else f"{_plain(change.before)} before, {_plain(change.after)} after",
    ]
    if change.by_hand:
        parts.insert(0, "set by hand")
    if change.from_fixed_number:
        parts.append("only because a fixed number is kept active")
    if _is_shared(change, graph):
        parts.append("shared with the graph")
    return ", ".join(parts)


def _plain(value: float) -> str:
    digits = 2 if abs(value) < 1 else 1
    return f"{value:.{digits}f}".replace("-", "−")


def _percent(p: float) -> str:
    return f"{100 * p:.0f}"


def _agreement_note(
    asking: Question, layer: int, answers: Sequence[Answer | None], hidden: int
) -> str:
    parts = []
    graph, network = answers[0], answers[1] if len(answers) > 1 else None
    if graph is not None and network is not None and layer > min(asking.edit.layers, default=0):
        found = asking.agreement(graph, network, layer)
        either = found.n_first + found.n_second - found.n_shared
        if either:
            parts.append(f"{found.n_shared} of {either} shared")
    if graph is not None and graph.states.has_layer(layer):
        parts.append(f"{len(graph.changes(layer, 'unchanged'))} unchanged")
    if hidden:
        parts.append(f"{hidden} more not shown")
    return ", ".join(parts)


def _overlap(asking: Question, layer: int, answers: Sequence[Answer | None]) -> float | None:
    graph, network = answers[0], answers[1] if len(answers) > 1 else None
    if graph is None or network is None or layer <= min(asking.edit.layers, default=0):
        return None
    return asking.agreement(graph, network, layer).overlap


# ---- before and after


def states_view(asking: Question, view: EditView, selected: ConceptId | None) -> None:
    """Show before and after of one answer: vanished, unchanged, appeared."""
    sources = {"graph": f"{PREDICTED} Graph", "network": f"{MEASURED} Network, edited"}
    if asking.redraw is not None:
        sources["redrawn"] = f"{MEASURED} Picture drawn again"
    source = st.segmented_control(
        "Answer", list(sources), format_func=sources.__getitem__, default="graph", key=_SOURCE
    )
    found = _of_source(asking, source or "graph")
    if found.answer is None:
        problems([(TableHead(sources[source or "graph"]), found)])
        return
    answer = found.answer
    if source in (None, "graph"):
        what = (
            f"Both states are {term('predicted')} from the labels of layer {asking.start}, by the "
            f"same {term('rule')}, {asking.settings.rule}: before is not what the image has, but "
            "what the graph makes of it without the edit. Figures are probabilities before → after."
        )
    else:
        what = (
            f"Both states were {term('measured')} in the network. Figures are the "
            f"{term('pre_activation')} before → after."
        )
    st.html(f"<p class='cg-quiet'>{what}</p>")
    rows = []
    for layer in answer.layers:
        kinds: list[Kind] = ["vanished", "unchanged", "appeared"]
        parts = [answer.changes(layer, kind) for kind in kinds]
        shown = [part[:MOST_IN_CELL] for part in parts]
        hidden = sum(map(len, parts)) - sum(map(len, shown))
        shown.append(_restless(answer, layer))
        rows.append(
            TableRow(
                lead=f"Layer {layer}",
                note=", ".join(
                    [
                        "given" if layer == answer.states.first and source in (None, "graph")
                        else f"{len(parts[1])} of {sum(map(len, parts))} unchanged",
                        *([f"{hidden} more not shown"] if hidden else []),
                    ]
                ),
                share=None,
                cells=[[c.concept for c in part] for part in shown],
                cell_notes=[{c.concept: _note(c, answer, None) for c in part} for part in shown],
                cell_labels=[
                    {c.concept: _spoken(c, answer, None) for c in part} for part in shown
                ],
            )
        )  # fmt: skip
    concept_table(
        [TableHead("Only before: vanished"), TableHead("Unchanged"),
         TableHead("Only after: appeared"), TableHead("Silent both times, moved most")],
        rows,
        gallery.looks(asking.study),
        label="Concepts before and after the edit, a row for each layer",
        key=_STATES,
        on_pick=lambda: pick(asking, _STATES),
        selected=selected,
        roomy=True,
    )  # fmt: skip


def _restless(answer: Answer, layer: int) -> tuple[ConceptChange, ...]:
    """Return the silent concepts of a layer whose number moved most, as far as it moved."""
    silent = answer.changes(layer, "silent", MOST_RESTLESS)
    return tuple(c for c in silent if abs(c.after - c.before) >= LEAST_MOVE)


def _of_source(asking: Question, source: str) -> Measured:
    if source == "network":
        return asking.network
    return asking.redrawn if source == "redrawn" else Measured(asking.graph)
