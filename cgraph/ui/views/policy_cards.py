"""A verdict as a card: outcome, what it speaks of, what it is read beside, and witnesses."""

from __future__ import annotations

from html import escape

import streamlit as st

from cgraph.concept import ConceptId
from cgraph.edits import PLAIN_RULE
from cgraph.policy_report import SIGNS, rule_words
from cgraph.policy_verdicts import (
    GRAPH,
    IMAGES,
    NETWORK,
    Baseline,
    Figure,
    ShownSet,
    Verdict,
    Witness,
)
from cgraph.study import Study
from cgraph.ui import frame, state, words
from cgraph.ui.components.concept_table import TableHead, TableRow, concept_table
from cgraph.ui.frame import OpenStudy
from cgraph.ui.policy_looks import (
    COUNTERFACTUAL_PAGE,
    GRAPH_PAGE,
    called,
    concept_of,
    edit_of,
    edit_query,
    graph_query,
    looks,
    page_link,
    pictures,
)
from cgraph.ui.terms import MEASURED, PREDICTED, term

__all__ = ["SIGNS", "verdict_card"]

_MARKS = {
    GRAPH: PREDICTED,
    NETWORK: MEASURED,
    IMAGES: "<span class='cg-mark'>● labels that the network gave the images</span>",
}
_MOST_CONCEPTS = 8
_MOST_CHIPS = 24
_MOST_IMAGES = 6
_PICKED = "policies.picked"


def verdict_card(opened: OpenStudy, verdict: Verdict, number: int) -> None:
    """Show one verdict.

    Parameters
    ----------
    opened : OpenStudy
    verdict : Verdict
    number : int
        Place of its rule, from 0.
    """
    with st.container(border=True, key=f"pl-card-{verdict.outcome}-{number}"):
        st.html(_head(verdict))
        for place, witness in enumerate(verdict.witnesses[:1]):
            _witness(opened, verdict, witness, f"{number}.{place}")
        st.html(_beside(verdict))
        if others := verdict.witnesses[1:]:
            more = st.expander(
                words.count(len(others), "more witness", "more witnesses"),
                key=f"policies.others.{number}",
                on_change="rerun",
            )
            if more.open:
                with more:
                    for place, witness in enumerate(others, start=1):
                        _witness(opened, verdict, witness, f"{number}.{place}")
        with st.expander("What this verdict speaks of, and every figure"):
            st.html(_details(verdict))


def _head(verdict: Verdict) -> str:
    several = len(verdict.speaks_of) > 1 and len(verdict.outcomes) == len(verdict.speaks_of)
    outcomes = verdict.outcomes if several else [""] * len(verdict.speaks_of)
    marks = " ".join(
        _MARKS[one] + (f"<b>{SIGNS[outcome]} {outcome}</b>" if outcome else "")
        for one, outcome in zip(verdict.speaks_of, outcomes, strict=True)
    )
    headline = escape(verdict.headline)
    rule = verdict.rule
    return (
        f"<div class='pl-top'><span class='pl-badge pl-{verdict.outcome}'>"
        f"<b>{SIGNS[verdict.outcome]}</b> {verdict.outcome}</span>"
        f"<span class='pl-rule'><b>{escape(rule.id)}</b> {escape(rule_words(verdict))}</span></div>"
        f"<h3 class='pl-headline'>{headline}</h3>"
        + (f"<p class='cg-quiet'>Why: {escape(rule.note)}</p>" if rule.note else "")
        + (f"<p class='pl-marks'>{marks}</p>" if marks else "")
    )


def _beside(verdict: Verdict) -> str:
    """Return what a verdict is to be read beside: random sets, prediction, cautions."""
    parts = [_baseline(one, named=len(verdict.baselines) > 1) for one in verdict.baselines]
    if (found := verdict.prediction) is not None:
        sign = "!" if found.found else "✓"
        parts.append(
            f"<div class='pl-part'><b>{sign} Does A foretell B?</b> "
            f"<span>{escape(found.text)}</span></div>"
        )
    parts += [
        f"<div class='pl-part pl-caution'><b>! Mind</b> <span>{escape(text)}</span></div>"
        for text in verdict.cautions
    ]
    return f"<div class='pl-beside'>{''.join(parts)}</div>" if parts else "<span></span>"


def _baseline(one: Baseline, *, named: bool) -> str:
    of = f" ({escape(one.of)})" if named else ""
    bar = ""
    if one.draws:
        share = words.percent(one.share)
        bar = (
            f"<span class='pl-bar' role='img' aria-label='{share} of random sets break the rule'>"
            f"<i style='width:{100 * one.share:.1f}%'></i></span>"
            f"<b class='pl-share'>{share}</b>"
        )
    return (
        f"<div class='pl-part'><b>{term('random_sets', 'Random sets')}{of}</b> {bar}"
        f"<span>{escape(one.text)}</span></div>"
    )


def _details(verdict: Verdict) -> str:
    parts = [f"<p class='cg-sentence'>{escape(verdict.scope)}</p>"] if verdict.scope else []
    parts += [_figures("Figures", verdict.figures), _figures("Graph and network", verdict.distance)]
    parts += [_set(one) for one in verdict.sets]
    parts.append(f"<p class='cg-quiet'>It took {verdict.seconds:.1f} s.</p>")
    return "".join(parts)


def _figures(title: str, figures: tuple[Figure, ...]) -> str:
    if not figures:
        return ""
    rows = "".join(
        f"<tr><th scope='row'>{escape(one.label)}</th><td>{escape(one.text)}</td></tr>"
        for one in figures
    )
    return (
        f"<p class='pl-small'>{title}</p><div class='cg-scroll'>"
        f"<table class='cg-table pl-figures'><tbody>{rows}</tbody></table></div>"
    )


def _set(one: ShownSet) -> str:
    chips = "".join(
        f"<li title='{escape(concept.why, True)}'>{escape(concept.name)} "
        f"<small>{escape(concept.id)}</small></li>"
        for concept in one.concepts[:_MOST_CHIPS]
    )
    more = len(one.concepts) - _MOST_CHIPS
    rest = f"<li>and {more:,} more</li>" if more > 0 else ""
    unknown = ""
    if one.n_unknown:
        unknown = f" · nothing is known of {one.n_unknown:,} of {one.n_looked_at:,} looked at"
    return (
        f"<p class='pl-small'>{escape(one.role)}: <b>{escape(one.name)}</b>, "
        f"{words.count(len(one.concepts), 'concept')}{unknown}</p>"
        f"<ul class='pl-chips'>{chips}{rest}</ul>"
    )


# ---- witnesses


def _witness(opened: OpenStudy, verdict: Verdict, witness: Witness, key: str) -> None:
    study = opened.study
    st.html(f"<p class='pl-witness'><b>{term('witness', 'Witness')}</b> {escape(witness.text)}</p>")
    if witness.kind == "path":
        _path(study, witness, key)
    elif witness.kind == "flips":
        _flips(study, witness, key)
    shown = [image for image in witness.images if 0 <= image.row < len(study.image_ids)]
    if shown:
        shown = shown[:_MOST_IMAGES]
        st.html(pictures(study, [image.row for image in shown], [i.text for i in shown]))
    _links(opened, verdict, witness)
    _picked(opened, key)


def _links(opened: OpenStudy, verdict: Verdict, witness: Witness) -> None:
    study, selection = opened.study, opened.selection
    edit = edit_of(witness)
    with st.container(horizontal=True, gap="small", key=None):
        if witness.kind == "path":
            page_link(
                GRAPH_PAGE,
                "Open the path on the Graph page",
                graph_query(study, selection, witness),
            )
        if edit is not None:
            image = witness.images[0].image_id if witness.images else None
            flips = witness.kind == "flips"
            last = [concept_of(c) for c in witness.concepts if c.kind != "output"]
            page_link(
                COUNTERFACTUAL_PAGE,
                "Try it on the Counterfactual page",
                edit_query(
                    study,
                    selection,
                    edit,
                    image=image,
                    rule=PLAIN_RULE if flips else None,
                    concept=last[-1] if witness.kind == "path" and last else None,
                ),
            )


def _path(study: Study, witness: Witness, key: str) -> None:
    concepts = [concept_of(one) for one in witness.concepts]
    layers = range(concepts[0].layer, concepts[-1].layer + 1)
    by_layer = {concept.layer: concept for concept in concepts}
    notes = {
        child: words.signed(weight)
        for child, weight in zip(concepts[1:], witness.weights, strict=False)
    }
    heads = [
        TableHead("Output" if layer > study.n_layers else f"Layer {layer}") for layer in layers
    ]
    _table(
        study,
        heads,
        TableRow(
            lead=words.fine_percent(witness.strength) if words.known(witness.strength) else "Path",
            note="path strength",
            share=None,
            cells=[[by_layer[layer]] if layer in by_layer else [] for layer in layers],
            notes=notes,
            lowering=tuple(
                child.layer - layers[0]
                for child, weight in zip(concepts[1:], witness.weights, strict=False)
                if weight < 0
            ),
        ),
        key,
        label=f"Path from {called(study, concepts[0])} to {called(study, concepts[-1])}",
        joined=True,
    )


def _flips(study: Study, witness: Witness, key: str) -> None:
    on, off = (tuple(map(ConceptId.parse, ids)) for ids in (witness.on, witness.off))
    shown = [
        (f"Switched {word}", flipped[:_MOST_CONCEPTS])
        for word, flipped in (("on", on), ("off", off))
        if flipped
    ]
    targets = [concept_of(one) for one in witness.concepts]
    targets = [one for one in targets if one not in on and one not in off][:_MOST_CONCEPTS]
    cells = [[*flipped] for _, flipped in shown]
    heads = [TableHead(head) for head, _ in shown]
    if targets:
        heads.append(TableHead("What changes"))
        cells.append(targets)
    row = TableRow("Flips", words.count(len(on) + len(off), "flip"), None, cells)
    _table(study, heads, row, key, label="Flips, and what they change")


def _table(
    study: Study,
    heads: list[TableHead],
    row: TableRow,
    key: str,
    *,
    label: str,
    joined: bool = False,
) -> None:
    name = f"policies.table.{key}"

    def pick() -> None:
        chosen = st.session_state[name]["picked"]
        if chosen and not chosen.startswith("O"):
            st.session_state[_PICKED] = (key, chosen)

    concept_table(
        heads,
        [row],
        looks(study),
        label=label,
        key=name,
        on_pick=pick,
        joined=joined,
        wide=not joined,
    )


def _picked(opened: OpenStudy, key: str) -> None:
    """Offer to go on with a concept that was chosen in a witness."""
    where, text = st.session_state.get(_PICKED, ("", ""))
    if where != key:
        return
    concept = ConceptId.parse(text)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        name = escape(called(opened.study, concept))
        st.html(f"<p class='cg-quiet'><b>{name}</b></p>", width="content")
        frame.onward_links(state.changed(opened.study, concept=concept), "Policies")
