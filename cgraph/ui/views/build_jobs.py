"""Builds that run, that wait to be gone on with, and that are finished."""

from __future__ import annotations

import time
from html import escape

import streamlit as st

from cgraph.build_estimate import size
from cgraph.build_job import resume, stop_in_background
from cgraph.errors import CgraphError
from cgraph.job_record import FAILED, FINISHED
from cgraph.job_status import (
    STOPPING,
    JobStatus,
    log_tail,
    stage_states,
    stage_times,
    status,
)
from cgraph.manifest import slug
from cgraph.progress import duration
from cgraph.ui import resources, words

REFRESH_SECONDS = 1.0
"""Time between two looks at a build that runs."""

PROBLEM = "build.problem"
"""Key in the session: what went wrong in a callback, said once."""

MOST_LISTED = 5

_GENERIC = ("model", "images", "photos", "data")

STAGE_WORDS = {
    "tokens": "Class tokens",
    "split": "Split",
    "dictionary": "Dictionaries",
    "codes": "Codes",
    "graph": "Graph",
    "evaluation": "Evaluation",
    "names": "Names",
    "examples": "Examples",
}
"""What the stages are called, in their order."""

_STATE_WORDS = {
    "stopped": "stopped",
    "failed": "failed",
    "interrupted": "interrupted: its process is gone, as after a kill or a restart",
    "finished": "finished",
}


def show(jobs: list[JobStatus]) -> None:
    """Draw all builds that were found, those at work first.

    Parameters
    ----------
    jobs : list of JobStatus
    """
    if problem := st.session_state.pop(PROBLEM, None):
        st.error(words.plain(problem))
    for job in jobs:
        if job.is_active:
            _running(str(job.folder))
    waiting = [job for job in jobs if job.can_resume]
    for job in waiting[:MOST_LISTED]:
        _waiting(job)
    finished = [job for job in jobs if job.state == FINISHED]
    if finished:
        _finished(finished[:MOST_LISTED])


def _key(job: JobStatus) -> str:
    return slug(job.folder.name)


@st.fragment(run_every=REFRESH_SECONDS)
def _running(folder: str) -> None:
    """Draw one build that is at work; only this is drawn again, so nobody's typing is disturbed."""
    job = status(folder)
    if job is None or not job.is_active:
        resources.studies.clear()
        st.rerun()
    with st.container(border=True, key=f"cg-job-{_key(job)}"):
        with st.container(
            horizontal=True, vertical_alignment="center", key=f"cg-jobhead-{_key(job)}"
        ):
            st.html(_headline(job), width="stretch")
            st.button(
                "Stopping …" if job.state == STOPPING else "Stop",
                key=f"build.stop.{job.folder}",
                on_click=_stop,
                args=(folder,),
                disabled=job.state == STOPPING,
                help="What is finished is kept; the build can be gone on with.",
            )
        st.html(progress_html(job))
        _log(job)


def _headline(job: JobStatus) -> str:
    left = job.seconds_left
    if job.state == STOPPING:
        told = "stopping; what is finished is kept"
    elif left is None:
        told = "getting ready: the model is loaded and the images are listed"
    elif left < 1 and job.share_done < 0.95:
        told = "taking longer than was expected"
    elif left < 1:
        told = "a moment left"
    else:
        told = f"about {duration(left)} left"
    memory = job.memory_mb()
    facts = [f"running for {duration(job.seconds_spent)}"]
    if memory is not None:
        facts.append(f"{size(memory)} of memory")
    return (
        f"<p class='cg-eyebrow'>Building</p><h3 class='cg-concept'><span>"
        f"{escape(job.folder.name)}</span></h3>"
        f"<p class='cg-facts' role='status'><b>{escape(told)}</b> · {escape(' · '.join(facts))}"
        f"<br>{escape(inputs_text(job))}</p>"
    )


def inputs_text(job: JobStatus) -> str:
    """Return the model and images of a build in a few words."""
    model, images = (str(job.settings.get(name) or "") for name in ("model", "images"))
    if not model or not images:
        return str(job.folder)
    most = job.settings.get("max_images")
    some = f"{most:,} of " if isinstance(most, int) else ""
    return f"{short(model)} on {some}{short(images)}"


def short(place: str) -> str:
    """Return the end of a path that tells most: ``demo/model``, but ``deit-tiny``."""
    parts = [part for part in place.replace("\\", "/").split("/") if part]
    if not parts or "://" in place:
        return place
    return "/".join(parts[-2:]) if parts[-1] in _GENERIC else parts[-1]


def progress_html(job: JobStatus) -> str:
    """Return the bar and the stages of a build as HTML."""
    share = round(100 * job.share_done)
    times = stage_times(job.folder)
    items = []
    for number, (stage, state) in enumerate(stage_states(job), 1):
        note = ""
        if state == "done" and stage in times:
            note = duration(times[stage])
        elif state == "now" and job.progress is not None:
            note = f"{job.progress.done:,} of {job.progress.total:,}"
        mark = {"done": "✓", "now": "▸"}.get(state, str(number))
        spoken = {"done": "done", "now": "at work", "later": "to come"}[state]
        current = " aria-current='step'" if state == "now" else ""
        items.append(
            f"<li class='cg-{state}'{current}><i aria-hidden='true'>{mark}</i>"
            f"<span>{STAGE_WORDS.get(stage, escape(stage))}<small>{escape(note)}</small>"
            f"<em class='cg-unseen'>{spoken}</em></span></li>"
        )
    return (
        f"<div class='cg-track' role='progressbar' aria-valuemin='0' aria-valuemax='100' "
        f"aria-valuenow='{share}' aria-label='Done'><i style='width:{share}%'></i>"
        f"<b>{share}&nbsp;%</b></div>"
        f"<ol class='cg-stages'>{''.join(items)}</ol>"
    )


def _log(job: JobStatus) -> None:
    with st.expander("Log"):
        st.code(
            log_tail(job.folder) or "It has written nothing yet.", language=None, wrap_lines=True
        )


def _waiting(job: JobStatus) -> None:
    """Draw a build that can be gone on with."""
    with st.container(border=True, key=f"cg-job-{_key(job)}"):
        with st.container(
            horizontal=True, vertical_alignment="center", key=f"cg-jobhead-{_key(job)}"
        ):
            ended = f", {_ago(job.ended)}" if job.ended else ""
            st.html(
                f"<p class='cg-eyebrow'>{escape(_STATE_WORDS[job.state])}{ended}</p>"
                f"<h3 class='cg-concept'><span>{escape(job.folder.name)}</span></h3>"
                f"<p class='cg-facts'>{escape(inputs_text(job))}</p>",
                width="stretch",
            )
            st.button(
                "Try again" if job.state == FAILED else "Resume",
                key=f"build.resume.{job.folder}",
                on_click=_resume,
                args=(str(job.folder),),
                help="Goes on where it stopped; the result is the same as without a stop.",
            )
        if job.state == FAILED:
            st.error(words.plain(job.error or "It did not say why. The log may."))
        if job.stages_done or job.progress:
            st.html(progress_html(job))
        _log(job)


def _finished(jobs: list[JobStatus]) -> None:
    with st.container(key="cg-finished"):
        st.html("<h3 class='cg-section'>Finished</h3>")
        for job in jobs:
            with st.container(
                horizontal=True, vertical_alignment="center", key=f"cg-done-{_key(job)}"
            ):
                when = f", {_ago(job.ended)}" if job.ended else ""
                took = f" in {duration(job.seconds_spent)}" if job.ended else ""
                st.html(
                    f"<p class='cg-sentence'><b>{escape(job.folder.name)}</b> "
                    f"<span class='cg-quiet'>{escape(inputs_text(job))}; built{took}{when}</span>"
                    "</p>",
                    width="stretch",
                )
                st.page_link(
                    "app.py",
                    label=f"Open {job.folder.name}",
                    query_params={"study": slug(job.folder.name)},
                )


def _ago(moment: float) -> str:
    seconds = max(0.0, time.time() - moment)
    for unit, size_of in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size_of:
            return f"{words.count(int(seconds // size_of), unit)} ago"
    return "just now"


def _stop(folder: str) -> None:
    try:
        stop_in_background(folder)
    except CgraphError as error:
        st.session_state[PROBLEM] = str(error)


def _resume(folder: str) -> None:
    try:
        resume(folder)
    except CgraphError as error:
        st.session_state[PROBLEM] = str(error)
