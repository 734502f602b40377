import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef, roc_auc_score

from cgraph.attribute_match import attribute_matches
from cgraph.attributes import attribute_table
from cgraph.codes import Codes


@pytest.fixture(scope="module")
def known():
    rng = np.random.default_rng(5)
    records = [
        {
            "colour": [c for c in ("red", "blue", "green") if rng.random() < 0.3],
            "ground": str(rng.choice(["sand", "sky"])),
            "odd": bool(rng.random() < 0.2),
        }
        for _ in range(500)
    ]
    red = np.array(["red" in record["colour"] for record in records])
    first = np.where(red, rng.integers(1, 6, 500), 0) * (rng.random(500) < 0.8)
    second = rng.integers(0, 3, 500) * rng.choice([-1, 1], 500)
    values = np.stack([first, second], axis=1).astype(np.float32)
    codes = Codes.from_padded(np.tile([0, 1], (500, 1)), values, 2)
    return records, attribute_table(records), values, codes


@pytest.mark.parametrize("atom", [0, 1])
def test_figures_are_those_of_scikit_learn(known, atom):
    records, table, values, codes = known
    rows = np.arange(100, 500)
    found = attribute_matches(codes, atom, table, rows)
    assert {(m.attribute, m.value) for m in found} == set(table.columns)
    assert len(found) == 6
    scores = np.abs(values[rows, atom])
    for match in found:
        truth = np.array([_has(records[row], match) for row in rows])
        assert match.n_images == truth.sum()
        assert match.auc == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
        assert match.correlation == pytest.approx(matthews_corrcoef(truth, scores > 0), abs=1e-12)
        assert match.share == pytest.approx((scores[truth] > 0).mean())
    sizes = [abs(match.correlation) for match in found]
    assert sizes == sorted(sizes, reverse=True)


def _has(record, match):
    value = record[match.attribute]
    if match.value == "yes":
        return value is True
    return match.value in (value if isinstance(value, list) else [value])


def test_the_planted_match_comes_first(known):
    _, table, _, codes = known
    best = attribute_matches(codes, 0, table, np.arange(500))[0]
    assert (best.attribute, best.value) == ("colour", "red")
    assert best.correlation > 0.8 and best.auc > 0.85


def test_a_value_that_no_image_has_is_no_figure(known):
    records, table, _, codes = known
    without = np.array([n for n, record in enumerate(records) if "red" not in record["colour"]])
    match = next(m for m in attribute_matches(codes, 0, table, without) if m.value == "red")
    assert (match.n_images, match.correlation) == (0, 0)
    assert np.isnan([match.auc, match.share]).all()


def test_without_attributes_there_is_nothing(known):
    codes = known[3]
    assert attribute_matches(codes, 0, attribute_table([{}] * 500), np.arange(500)) == []
