"""The paper's question asked of planted concepts whose answer is known."""

import numpy as np
import pytest

from cgraph.errors import DataError
from cgraph.parent_question import PREVALENCE, ask_about_parents

RNG = np.random.default_rng(4)
N = 600
FEW = np.arange(N) < 300
TWO_PEAKS = np.where(FEW, RNG.poisson(20, N), RNG.poisson(70, N))


def ask(parents=TWO_PEAKS, **figures):
    figures = {PREVALENCE: RNG.uniform(0.01, 0.3, len(parents)), **figures}
    answer = ask_about_parents(parents, figures)
    return answer, {relation.name: relation for relation in answer.relations}


def test_a_planted_difference_between_the_peaks_is_found():
    match = np.where(FEW, 0.8, 0.3) + 0.1 * RNG.normal(size=N)
    answer, relations = ask(match=match)
    assert len(answer.peaks.at) == 2
    found = relations["match"]
    assert found.whole.rho < -0.5
    assert found.given_prevalence.rho < -0.5
    assert found.groups.superiority < 0.01
    assert found.groups.medians == pytest.approx((0.8, 0.3), abs=0.03)
    assert found.groups.p_value < 1e-10


def test_what_prevalence_explains_is_gone_when_it_is_held_fixed():
    prevalence = 0.001 * TWO_PEAKS + 0.002 * RNG.random(N)
    area = prevalence + 0.02 * RNG.normal(size=N)
    _, relations = ask(**{PREVALENCE: prevalence, "AUC": area})
    assert relations["AUC"].whole.rho > 0.5
    assert abs(relations["AUC"].given_prevalence.rho) < 0.15
    assert relations[PREVALENCE].given_prevalence is None


def test_nothing_is_found_where_nothing_is():
    _, relations = ask(match=RNG.random(N))
    found = relations["match"]
    assert found.whole.low < 0 < found.whole.high
    assert 0.42 < found.groups.superiority < 0.58


def test_one_peak_makes_no_groups():
    _, relations = ask(RNG.poisson(30, 400), match=RNG.random(400))
    assert relations["match"].groups is None
    assert relations["match"].whole is not None


def test_few_known_figures_say_why_there_is_no_correlation():
    match = np.full(N, np.nan)
    match[:5] = 0.5
    _, relations = ask(match=match)
    assert relations["match"].whole is None
    assert relations["match"].groups is None
    assert "known of 5 concepts" in relations["match"].why_not


def test_no_concepts_are_refused():
    with pytest.raises(DataError, match="at least one"):
        ask_about_parents(np.array([], dtype=int), {PREVALENCE: np.array([])})
