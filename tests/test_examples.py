import io
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import sparse

from cgraph.codes import Codes
from cgraph.errors import ConfigError
from cgraph.examples import choose_examples


def codes_of(labels):
    rows = sparse.csr_array(np.asarray(labels, dtype=np.float32))
    return Codes(rows.indptr, rows.indices, rows.data, rows.shape[1])


def test_choice_by_hand():
    labels = [[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [0, 1, 0, 1], [1, 1, 1, 1]]
    rows, worth = np.array([0, 1, 2, 3]), np.array([3.0, 2.0, 1.0, 1.5])
    # Row 1 shows 6; then rows 2 and 3 add 1.5, the earlier counts; then it begins anew.
    assert choose_examples(codes_of(labels), rows, worth, 4) == [1, 2, 0, 3]
    assert choose_examples(codes_of(labels), rows, worth, 1) == [1]
    assert choose_examples(codes_of(labels), np.array([], dtype=int), worth) == []


def test_images_that_show_nothing_come_last():
    labels = [[0, 0], [1, 0], [0, 0]]
    assert choose_examples(codes_of(labels), np.arange(3), np.ones(2), 3) == [1, 0, 2]


@given(st.integers(0, 10**6))
def test_the_greedy_choice_is_nearly_the_best(seed):
    rng = np.random.default_rng(seed)
    labels, worth = rng.random((8, 6)) < 0.4, rng.random(6)
    chosen = choose_examples(codes_of(labels), np.arange(8), worth, 3)
    assert len(set(chosen)) == 3

    def shown(rows):
        return worth[labels[list(rows)].any(axis=0)].sum()

    best = max(shown(rows) for rows in combinations(range(8), 3))
    assert shown(chosen) >= (1 - (1 - 1 / 3) ** 3) * best - 1e-9  # Nemhauser et al. 1978


def test_a_study_stores_its_examples(tiny_study):
    examples = tiny_study.examples
    assert 0 < len(examples) <= 12 and set(examples) <= set(tiny_study.rows("held-out"))
    from cgraph.tracing import trace_row

    for row in examples:
        trace = tiny_study.example_trace(row)
        stored = trace_row(tiny_study, row)
        assert trace.layers == stored.layers and trace.edges == stored.edges
        assert trace.image_id == tiny_study.image_ids[row] and trace.study == tiny_study.name
        assert trace.explained is not None and trace.unusual in (True, False)
        picture = Image.open(io.BytesIO(tiny_study.example_picture(row)))
        assert picture.format == "JPEG" and picture.size == (32, 32)  # never enlarged


def test_an_image_that_is_no_example(tiny_study):
    row = next(r for r in tiny_study.rows("train"))
    with pytest.raises(ConfigError, match=f"Image {row} of the study .* is none of its examples"):
        tiny_study.example_trace(row)


def test_what_is_usual_in_a_study(tiny_study, tiny_inputs):
    from cgraph.tracing import load_model, trace_image

    usual = tiny_study.usual
    assert usual.sizes == (tiny_study.n_layers, tiny_study.d_model)
    assert usual.false_alarms < 0.1
    assert all(
        low < high for low, high in zip(usual.explained_low, usual.explained_high, strict=True)
    )
    assert not any(tiny_study.example_trace(row).unusual for row in tiny_study.examples)
    model = load_model(tiny_study)
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert trace_image(tiny_study, model, Image.fromarray(noise), "noise").unusual
    own = Image.open(tiny_inputs[1] / tiny_study.image_ids[tiny_study.examples[0]])
    assert trace_image(tiny_study, model, own, "own").unusual is False
