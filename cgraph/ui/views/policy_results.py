"""What became of the rules: progress while they are checked, then their verdicts and the report."""

from __future__ import annotations

from html import escape

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from cgraph.policy_report import to_json, to_junit, to_markdown
from cgraph.policy_verdicts import OUTCOMES, Outcome, Report
from cgraph.progress import duration
from cgraph.study import Study
from cgraph.ui import policy_state, words
from cgraph.ui.frame import OpenStudy
from cgraph.ui.policy_state import PolicyRun
from cgraph.ui.terms import term
from cgraph.ui.views.policy_cards import SIGNS, verdict_card


def results(opened: OpenStudy, text: str) -> None:
    """Show the last check of a study.

    Parameters
    ----------
    opened : OpenStudy
    text : str
        What is on show in the editor; verdicts of another text are said to be.
    """
    run = policy_state.run_of(opened.study)
    if run is None:
        _nothing_yet()
        return
    if run.is_running:
        _running(opened, run)
        return
    if run.text != text:
        st.html(
            "<p class='pl-stale' role='status'><b>⟲ These verdicts are of another text.</b> What "
            "stands in the editor now was not checked yet: check the rules again.</p>"
        )
    if run.problem:
        st.error(words.plain(f"The check broke off. {run.problem} What was finished is kept."))
    if run.is_stopped and run.n_done < len(run.policy.rules):
        st.info(
            f"It was stopped after {run.n_done} of {words.count(len(run.policy.rules), 'rule')}. "
            "The verdicts that were there are kept."
        )
    _report(opened, run)


def _nothing_yet() -> None:
    st.html(
        "<div class='pl-empty'><p><b>No rule was checked yet.</b> Check those that you see: each "
        f"gets a {term('verdict')}.</p><ul>"
        "<li><b>✓ holds</b> of what was looked at, with a test whether A foretells B all the "
        "same</li>"
        f"<li><b>✗ violated</b> with a {term('witness')}: the path or the flips, and images that "
        "show it</li>"
        "<li><b>? inconclusive</b> with the reason</li></ul>"
        "<p class='cg-quiet'>Beside each stands how often random sets of the same sizes break the "
        "same rule. In a graph where nearly everything leads to everything, that is what tells a "
        "finding from a matter of course.</p></div>"
    )


def _running(opened: OpenStudy, run: PolicyRun) -> None:
    st.button("Stop", on_click=run.stop, key="policies.stop")
    _progress(opened, run)


@st.fragment(run_every=0.7)
def _progress(opened: OpenStudy, run: PolicyRun) -> None:
    """Show how far a check is, and the verdicts that are there."""
    context = get_script_run_ctx()
    alone = context is not None and bool(context.fragment_ids_this_run)
    if alone and not run.is_running:
        st.rerun()
    total, now = len(run.policy.rules), run.progress
    said = f"{run.n_done} of {words.count(total, 'rule')} checked"
    if now is not None and run.n_done < total:
        said += f" · now {now.stage} · {duration(run.seconds)} so far"
        if now.seconds_left:
            said += f" · about {duration(now.seconds_left)} left"
    st.progress(run.n_done / total if total else 1.0, words.plain(said))
    for number, verdict in enumerate(run.verdicts):
        verdict_card(opened, verdict, number)


def _report(opened: OpenStudy, run: PolicyRun) -> None:
    report = run.report
    parts = [
        f"<span class='pl-count pl-{one}'><b>{SIGNS[one]}</b> {_counted(report, one)}</span>"
        for one in OUTCOMES
        if report.count(one)
    ]
    with st.container(
        horizontal=True, vertical_alignment="center", gap="medium", key="pl-report-head"
    ):
        st.html(
            f"<p class='pl-sum'><b>{escape(report.policy)}</b> {' '.join(parts)}</p>",
            width="content",
        )
        _downloads(opened.study, report)
    for number, verdict in enumerate(report.verdicts):
        verdict_card(opened, verdict, number)


def _counted(report: Report, outcome: Outcome) -> str:
    n = report.count(outcome)
    return f"{n} hold" if outcome == "holds" and n > 1 else f"{n} {outcome}"


def _downloads(study: Study, report: Report) -> None:
    def as_html() -> bytes:
        from cgraph.policy_html import to_html

        return to_html(report, study).encode()

    with st.popover("Report", key="policies.report"):
        for label, make, ending, kind in (
            ("HTML, with pictures", as_html, "html", "text/html"),
            ("Markdown", lambda: to_markdown(report).encode(), "md", "text/markdown"),
            ("JSON", lambda: to_json(report).encode(), "json", "application/json"),
            ("JUnit XML", lambda: to_junit(report).encode(), "xml", "application/xml"),
        ):
            # Made when it is asked for, since a file kept ready would be gone after the next run.
            st.download_button(
                label,
                make,
                file_name=f"policy-{study.name}.{ending}",
                mime=kind,
                on_click="ignore",
                width="stretch",
                key=f"policies.report.{ending}",
            )
        st.caption("The same as `cgraph check` writes, in which a build server reads exit codes.")
