import numpy as np

from cgraph.attributes import attribute_table


def test_one_value_and_several():
    records = [{"ground": "sand", "colour": ("red", "blue")}, {"ground": "sky", "colour": ["red"]}]
    odd = [{"ground": " sky ", "colour": []}] * 4 + [{"ground": "night", "colour": "blue"}]
    table = attribute_table(records * 5 + odd, min_images=5)
    wanted = ("ground", "sand"), ("colour", "red"), ("colour", "blue"), ("ground", "sky")
    assert set(table.columns) == set(wanted)
    order = [table.columns.index(column) for column in wanted]
    truth = table.truth.toarray()[:, order]
    np.testing.assert_array_equal(truth[0], [True, True, True, False])
    np.testing.assert_array_equal(truth[1], [False, True, False, True])
    np.testing.assert_array_equal(truth[-2], [False, False, False, True])
    np.testing.assert_array_equal(truth[-1], [False, False, True, False])
    np.testing.assert_array_equal(table.take(np.array([1, 0])).toarray()[:, order], truth[[1, 0]])
    assert table.names.tolist() == [name for name, _ in table.columns]


def test_kinds_of_values():
    records = [
        {"n": n % 2, "old": n % 4 == 0, "weight": 0.5 * n, "id": f"image {n}", "none": None}
        for n in range(40)
    ]
    table = attribute_table(records, min_images=10)
    assert set(table.columns) == {("n", "0"), ("n", "1"), ("old", "yes")}
    assert table.truth.sum(axis=0).tolist() == [20, 10, 20]


def test_values_that_all_images_have_say_nothing():
    assert attribute_table([{"kind": "photo"}] * 50).columns == ()
    empty = attribute_table([])
    assert empty.columns == () and empty.truth.shape == (0, 0)


def test_of_two_names_for_the_same_the_readable_one_is_kept():
    records = [{"wnid": "n0144", "label": "tench"}, {"wnid": "n0153", "label": "hen"}] * 20
    table = attribute_table(records)
    assert table.columns == (("label", "tench"), ("label", "hen"))
    turned = attribute_table([{"label": r["label"], "wnid": r["wnid"]} for r in records])
    assert turned.columns == table.columns


def test_a_value_in_words_says_more_than_yes():
    records = [{"approved": True, "texture": "striped"}, {"approved": False, "texture": "dotted"}]
    table = attribute_table(records * 20)
    assert table.columns == (("texture", "striped"), ("texture", "dotted"))
    numbered = [{"approved": True, "code": "n01"}, {"approved": False, "code": "n02"}] * 20
    assert attribute_table(numbered).columns == (("approved", "yes"), ("code", "n02"))
