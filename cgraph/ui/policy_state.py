"""What the Policies page keeps: texts of one's own, what they mean in a study, and checks that run.

A policy is too long for a link: the link says which example is on show, or that it is a text of
one's own, which stays in the session of who wrote it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import streamlit as st

from cgraph.concept_sets import ResolvedSet, resolve
from cgraph.errors import CgraphError, PolicyError, Problem
from cgraph.policy_file import MOST_BYTES, read_policy
from cgraph.policy_rules import Policy
from cgraph.policy_subject import Subject, subject_of
from cgraph.policy_verdicts import Report, Verdict
from cgraph.progress import Progress
from cgraph.study import Study
from cgraph.ui.policy_texts import SetChoice, choices, examples

OWN = "own"
"""In place of an example in the link: a text of one's own."""

_OWN_TEXTS = "policies.own"
_RUNS = "policies.runs"


@lru_cache(maxsize=8)
def _subject(study: Study, names: str) -> Subject:
    found = subject_of(study)
    return replace(found, known=lru_cache(maxsize=1)(found.known))


def subject(study: Study) -> Subject:
    """Return a study as rules see it, with the names that it has now.

    Raises
    ------
    CgraphError
        If a table of the study cannot be read.
    """
    return _subject(study, study.naming.revision)


@lru_cache(maxsize=8)
def examples_of(found: Subject) -> Mapping[str, str]:
    """Return the examples of a study; see `cgraph.ui.policy_texts.examples`."""
    return examples(found)


@lru_cache(maxsize=8)
def choices_of(found: Subject) -> tuple[SetChoice, ...]:
    """Return what sets can be made of in a study."""
    return tuple(choices(found))


@dataclass(frozen=True)
class Checked:
    """What a text means in a study.

    Attributes
    ----------
    policy : Policy or None
        None if it is none.
    sets : mapping of str to ResolvedSet
        Concepts of each set; empty if something is wrong.
    problems : tuple of Problem
    """

    policy: Policy | None
    sets: Mapping[str, ResolvedSet]
    problems: tuple[Problem, ...]


@lru_cache(maxsize=64)
def checked(found: Subject, text: str) -> Checked:
    """Read a policy and look its names up, without checking a rule."""
    if not text.strip():
        empty = "The policy is empty. Choose an example, add a rule below, or write one."
        return Checked(None, {}, (Problem(0, empty),))
    try:
        policy = read_policy(text)
    except PolicyError as error:
        return Checked(None, {}, error.problems)
    try:
        return Checked(policy, resolve(found, policy), ())
    except PolicyError as error:
        return Checked(policy, {}, error.problems)
    except CgraphError as error:
        return Checked(policy, {}, (Problem(0, str(error)),))


# ---- texts of one's own


def own_text(study: Study) -> str | None:
    """Return what somebody wrote or loaded for a study in this session."""
    texts: dict[str, str] = st.session_state.get(_OWN_TEXTS, {})
    return texts.get(study.name)


def keep_own(study: Study, text: str) -> None:
    """Keep a text of one's own."""
    st.session_state.setdefault(_OWN_TEXTS, {})[study.name] = text


def uploaded_text(raw: bytes) -> str:
    """Return an uploaded file as a text.

    Raises
    ------
    PolicyError
        If it is larger than a policy may be, or no UTF-8.
    """
    if len(raw) > MOST_BYTES:
        size = f"It has {len(raw) / 1e6:.1f} MB: a policy has at most {MOST_BYTES / 1e6:g} MB."
        raise PolicyError("The file", [Problem(0, size)])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        said = "This is no UTF-8, in which TOML is written. Save the file in UTF-8."
        raise PolicyError("The file", [Problem(line, said)]) from None
    if "\0" in text:
        raise PolicyError("The file", [Problem(0, "This is no text: it holds zero bytes.")])
    return text.replace("\r\n", "\n")


# ---- checks that run


class _Stopped(Exception):
    """Somebody stopped a check."""


class PolicyRun:
    """A policy that is checked in a thread, so that its page stays usable.

    Parameters
    ----------
    found : Subject
    text : str
        What was checked: a text on show that differs has no verdicts yet.
    policy : Policy
    """

    def __init__(self, found: Subject, text: str, policy: Policy) -> None:
        self.subject = found
        self.text = text
        self.policy = policy
        self.progress: Progress | None = None
        self.problem = ""
        self.is_stopped = False
        self._began = time.monotonic()
        self._verdicts: list[Verdict] = []
        self._thread = threading.Thread(target=self._check, name="cgraph-policy", daemon=True)
        self._report: Report | None = None
        self._made_of: tuple[int, bool] | None = None

    def start(self) -> None:
        """Begin."""
        self._began = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Take no further rule up; the verdicts that are there stay."""
        self.is_stopped = True

    def wait(self, seconds: float) -> bool:
        """Wait for the end, at most so long, and return whether it came."""
        self._thread.join(seconds)
        return not self.is_running

    @property
    def is_running(self) -> bool:
        """Whether rules are still being checked, for all that the page cares."""
        return self._thread.is_alive() and not self.is_stopped

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    @property
    def n_done(self) -> int:
        """Rules that have a verdict."""
        return len(self._verdicts)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Those that are there."""
        return tuple(self._verdicts)

    @property
    def report(self) -> Report:
        """The report so far; rules without a verdict are inconclusive."""
        from cgraph.policy import report_of

        state = len(self._verdicts), self.is_running
        if self._report is None or self._made_of != state:
            self._report = report_of(self.subject, self.policy, self.verdicts)
            self._made_of = state
        return self._report

    def _check(self) -> None:
        from cgraph import policy

        def note(progress: Progress) -> None:
            self.progress = progress
            if self.is_stopped:
                raise _Stopped

        def keep(verdict: Verdict) -> None:
            if self.is_stopped:
                raise _Stopped
            self._verdicts.append(verdict)

        try:
            policy.check(self.subject, self.policy, on_progress=note, on_verdict=keep)
        except _Stopped:
            pass
        except Exception as error:  # what is finished is kept, and the page says what went wrong
            known = isinstance(error, CgraphError)
            self.problem = str(error) if known else f"{type(error).__name__}: {error}"


def run_of(study: Study) -> PolicyRun | None:
    """Return the last check of a study in this session."""
    runs: dict[str, PolicyRun] = st.session_state.get(_RUNS, {})
    return runs.get(study.name)


def start_run(study: Study, found: Subject, text: str, policy: Policy) -> PolicyRun:
    """Check a policy, in place of what is being checked."""
    former = run_of(study)
    if former is not None:
        former.stop()
    run = PolicyRun(found, text, policy)
    st.session_state.setdefault(_RUNS, {})[study.name] = run
    run.start()
    return run
