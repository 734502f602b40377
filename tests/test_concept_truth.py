"""What was measured of concepts, whatever the order of the rows."""

from __future__ import annotations

import numpy as np
import pytest
from measured_graph import hand_concepts

from cgraph.concept import ConceptId


def test_stability_and_gap_of_each_concept():
    concepts = hand_concepts()
    assert concepts and concepts.has_stability
    found = concepts.of(ConceptId(2, 1))
    assert (found.found_again, found.cosine) == (True, pytest.approx(0.95))
    assert (found.auc_graph, found.auc_token, found.gap) == (0.75, 0.875, 0.125)
    assert found.lost_from_patches == 0.25
    assert concepts.of(ConceptId(1, 2)).found_again is False
    assert np.isnan(concepts.of(ConceptId(1, 2)).gap)  # layer 1 has no layer before it
    assert concepts.of(ConceptId(2, 2)).found_again is None  # dead: there is nothing to find
    assert concepts.found_again(1).tolist() == [True, True, False]
    assert concepts.found_again(3).tolist() == [True, False]


def test_one_measurement_alone():
    alone = hand_concepts("leakage-concepts")
    assert alone and not alone.has_stability
    found = alone.of(ConceptId(3, 0))
    assert found.found_again is None and found.gap == 0.125 and np.isnan(found.cosine)


def test_nothing_measured_is_nothing():
    concepts = hand_concepts("evidence")
    assert not concepts and concepts.of(ConceptId(3, 0)) is None
