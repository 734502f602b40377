"""Comparing images, by hand and by properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgraph.comparison import compare
from cgraph.concept import ConceptId
from cgraph.errors import ConfigError
from cgraph.trace import ActiveConcept, Trace


def trace(*layers: dict[int, float], study: str = "s", image_id: str = "x") -> Trace:
    """Return a trace of layers that map an index to its coefficient, strongest first."""
    return Trace(
        tuple(
            tuple(
                ActiveConcept(ConceptId(depth, index), value, None, None, 0, 0)
                for index, value in sorted(layer.items(), key=lambda item: -abs(item[1]))
            )
            for depth, layer in enumerate(layers, start=1)
        ),
        (),
        None,
        image_id,
        study,
    )


def ids(layer: int, *indices: int) -> tuple[ConceptId, ...]:
    return tuple(ConceptId(layer, index) for index in indices)


def test_two_images_by_hand():
    found = compare(
        [
            trace({0: 4.0, 1: 2.0, 2: 1.0}, {5: 1.0}),
            trace({1: 8.0, 0: 2.0, 7: -6.0}, {6: 1.0, 9: 3.0}),
        ]
    )
    first, second = found.layers
    # Relative to the largest of their image: L1/0 has 1 + 1/4, L1/1 has 1/2 + 1.
    assert first.shared == ids(1, 1, 0)
    assert first.members == ((0, 1), (0, 1))
    assert first.apart == (ids(1, 2), ids(1, 7))
    assert first.overlap == 2 / 4
    assert (second.shared, second.members, second.overlap) == ((), (), 0.0)
    assert second.apart == (ids(2, 5), ids(2, 9, 6))
    assert (found.most_alike, found.most_apart) == (first, second)


def test_three_images_by_hand():
    (layer,) = compare(
        [trace({0: 1.0, 1: 1.0}), trace({0: 1.0, 2: 1.0}), trace({0: 1.0, 2: 0.5, 3: 1.0})]
    ).layers
    assert layer.shared == ids(1, 0, 2)
    assert layer.members == ((0, 1, 2), (1, 2))
    assert layer.apart == (ids(1, 1), (), ids(1, 3))
    # Pairs: {0} of {0, 1, 2}; {0} of {0, 1, 2, 3}; {0, 2} of {0, 2, 3}.
    assert layer.overlap == pytest.approx((1 / 3 + 1 / 4 + 2 / 3) / 3)


def test_images_without_concepts_are_alike():
    (layer,) = compare([trace({}), trace({})]).layers
    assert (layer.shared, layer.apart, layer.overlap) == ((), ((), ()), 1.0)


@given(st.lists(st.sets(st.integers(0, 8), max_size=6), min_size=2, max_size=4))
def test_every_concept_is_listed_once(images):
    (layer,) = compare([trace(dict.fromkeys(image, 1.0)) for image in images]).layers
    apart = [concept for of_image in layer.apart for concept in of_image]
    everything = [concept.index for concept in (*layer.shared, *apart)]
    assert sorted(everything) == sorted(set().union(*images))
    for concept, members in zip(layer.shared, layer.members, strict=True):
        assert members == tuple(i for i, image in enumerate(images) if concept.index in image)
        assert len(members) > 1
    assert 0 <= layer.overlap <= 1
    assert (layer.overlap == 1) == all(image == images[0] for image in images)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ConfigError, match=r"1 image was given: compare at least two\."):
        compare([trace({})])
    with pytest.raises(ConfigError, match=r"different studies \(a, b\).*Trace them in one study"):
        compare([trace({}, study="a"), trace({}, study="b")])
