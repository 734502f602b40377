"""Flip radii as a figure, beside the flips that a changed picture was measured to make."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import streamlit as st

from cgraph.study import Study
from cgraph.ui.link_choice import in_link, keep
from cgraph.ui.policy_looks import called
from cgraph.ui.radii import Asked, Found
from cgraph.ui.terms import MEASURED, PREDICTED, term
from cgraph.ui.traced import TracedImage

_CHANGE = "policies.change"


def changes_of(study: Study) -> dict[str, str]:
    """Return what pictures were changed by, by key in the link; empty if it was not measured."""
    table = study.measured("flips")
    if table is None:
        return {}
    found = {}
    for row in table.to_pylist():
        name, size = row["perturbation"], row["size"]
        found[f"{name}-{size:g}".replace(" ", "-")] = f"{name} {size:g}"
    return found


def _first_change(changes: dict[str, str]) -> str:
    return next((key for key in changes if key == "JPEG-50"), next(iter(changes)))


def choose_change(study: Study, changes: dict[str, str]) -> str:
    """Offer these changes, of which the link decides one, and return it."""
    change = in_link("change", list(changes), _first_change(changes))
    st.session_state[_CHANGE] = change
    st.selectbox(
        "Held against a picture with",
        list(changes),
        format_func=changes.__getitem__,
        key=_CHANGE,
        on_change=keep,
        args=(study, _CHANGE, "change"),
        width=220,
    )
    return change


def measured_flips(study: Study, change: str) -> dict[int, dict[str, Any]]:
    """Return the row of each layer about one change of pictures; empty if there is none."""
    table = study.measured("flips")
    if table is None:
        return {}
    return {
        row["layer"]: row
        for row in table.to_pylist()
        if f"{row['perturbation']}-{row['size']:g}".replace(" ", "-") == change
    }


def radius_figure(
    study: Study,
    asked: Asked,
    found: Sequence[Found],
    measured: dict[int, dict[str, Any]],
    really: str,
) -> None:
    """Draw lower and upper radius of each layer, and beside them what a changed picture flips."""
    concept = asked.concept
    ends = [n for one in found if one.radius for n in (one.radius.lower, one.radius.upper) if n]
    ends += [row["high"] for row in measured.values()]
    most = max([*ends, 4])
    rows = "".join(_bar(one, measured.get(one.start), most) for one in found)
    legend = (
        "<span><i class='pl-key pl-low'></i> no fewer flips do</span>"
        "<span><i class='pl-key pl-gap'></i> between the bounds</span>"
    )
    if measured:
        legend += (
            "<span><i class='pl-key pl-dot'></i> ● labels that a changed picture flips: median, "
            "line to 95 %</span>"
        )
    word = term("flip_radius", "Flip radius")
    head = escape(called(study, concept))
    marks = f"{PREDICTED} {MEASURED if measured else ''}"
    st.html(
        f"<h3 class='cg-section'>{word} of {head}, layer by layer</h3>"
        f"<p class='pl-marks'>{marks}</p>{really}"
        f"<p class='pl-legend cg-quiet'>{legend}</p>"
        "<div class='cg-scroll'><table class='pl-radii'><thead><tr><td></td><th scope='col'>flips "
        f"needed, 0 to {most:g}</th><th scope='col'>radius</th><th scope='col'>without flips</th>"
        f"</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def really(study: Study, traced: TracedImage, asked: Asked) -> str:
    """Say what the network itself says of the concept in this image, where that is known."""
    concept = asked.concept
    if concept.kind == "output":
        if study.outputs is None or traced.row is None:
            return ""
        here = bool(study.outputs.labels[traced.row, concept.index])
    else:
        here = concept.index in asked.active[concept.layer - 1]
    return (
        f"<p class='cg-quiet'>In the network it is <b>{'on' if here else 'off'}</b> in this image ●"
        ". Without flips the graph runs from the image’s own labels of a layer, and may end "
        "elsewhere.</p>"
    )


def _bar(one: Found, row: dict[str, Any] | None, most: float) -> str:
    def at(value: float) -> str:
        return f"{100 * min(1.0, value / most):.1f}%"

    track, said, before = "", escape(one.problem), ""
    if (radius := one.radius) is not None:
        said = _radius_words(one)
        before = "on" if radius.before else "off"
        if radius.lower is not None:
            low, high = radius.lower, radius.upper
            track += f"<i class='pl-low' style='width:{at(low)}'></i>"
            until = high if high is not None else most
            if until > low:
                track += f"<i class='pl-gap' style='left:{at(low)};width:{at(until - low)}'></i>"
    if row is not None:
        track += (
            f"<i class='pl-line' style='left:{at(row['median'])};"
            f"width:{at(max(0.0, row['high'] - row['median']))}'></i>"
            f"<i class='pl-dot' style='left:{at(row['median'])}' "
            f"title='median {row['median']:g}, 95 % {row['high']:g}'></i>"
        )
    return (
        f"<tr><th scope='row'>Layer {one.start}</th><td class='pl-wide'><span class='pl-track'>"
        f"{track}</span></td><td>{said}</td><td>{before}</td></tr>"
    )


def _radius_words(one: Found) -> str:
    radius = one.radius
    assert radius is not None
    if radius.constant:
        return "nothing at all switches it"
    if radius.never:
        return "no flips change it"
    if radius.exact:
        return f"<b>{radius.lower}</b>, exact"
    if radius.upper is None:
        return f"<b>{radius.lower}</b> or more; none found"
    return f"<b>{radius.lower} to {radius.upper}</b>"


def reading_aid(study: Study) -> None:
    """Say what a number of flips means for pictures, where that was measured."""
    table = study.measured("flips")
    if table is None:
        st.html(
            "<p class='cg-quiet'>How many labels really flip when a picture is compressed, made "
            "noisy or attacked was not measured of this study: <code>cgraph evaluate STUDY --only "
            "flips</code>.</p>"
        )
        return
    rows = table.to_pylist()
    layers = sorted({row["layer"] for row in rows})
    shown = sorted({layers[0], layers[len(layers) // 2], layers[-1]})
    names = list(dict.fromkeys((row["perturbation"], row["size"]) for row in rows))
    by_place = {(row["perturbation"], row["size"], row["layer"]): row for row in rows}
    lines = []
    for name, size in names:
        cells = "".join(
            f"<td>{row['median']:g} <small>({row['high']:.0f})</small></td>"
            if (row := by_place.get((name, size, layer)))
            else "<td>–</td>"
            for layer in shown
        )
        lines.append(f"<tr><th scope='row'>{escape(name)} {size:g}</th>{cells}</tr>")
    heads = "".join(f"<th scope='col'>layer {layer}</th>" for layer in shown)
    with st.expander("What a number of flips means for pictures"):
        st.html(
            f"<p class='cg-quiet'>{MEASURED} Labels of an image that flip when its picture is "
            "changed: the median, and in brackets what 95 % of the images stay below. A radius "
            "below these numbers can be reached by such a change; whether it is depends on which "
            "labels flip, and the cheapest ones need not be among them.</p>"
            f"<div class='cg-scroll'><table class='cg-table'><thead><tr><td></td>{heads}</tr>"
            f"</thead><tbody>{''.join(lines)}</tbody></table></div>"
        )
