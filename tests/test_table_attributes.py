import datetime
import decimal
import json

import pyarrow as pa
import pytest

from cgraph.table_attributes import attribute_value, class_names, table_attributes


def values(table: pa.Table) -> list[dict]:
    """Return the attributes of every row."""
    classes = class_names(table.schema)
    found = table_attributes(table.schema, classes)
    return [{a.name: attribute_value(row, a, classes) for a in found} for row in table.to_pylist()]


def test_plain_columns() -> None:
    table = pa.table(
        {
            "text": ["a", None],
            "large": pa.array(["b", "c"], pa.large_string()),
            "number": [1, 2],
            "share": [0.5, float("nan")],
            "yes": [True, None],
            "word": pa.array(["x", "y"]).dictionary_encode(),
        }
    )
    assert values(table) == [
        {"text": "a", "large": "b", "number": 1, "share": 0.5, "yes": True, "word": "x"},
        {"text": None, "large": "c", "number": 2, "share": None, "yes": None, "word": "y"},
    ]


def test_dates_times_and_decimals_are_text() -> None:
    table = pa.table(
        {
            "day": [datetime.date(2011, 12, 1)],
            "time": [datetime.datetime(2011, 12, 1, 10, 30)],
            "price": pa.array([decimal.Decimal("1.50")]),
        }
    )
    assert values(table) == [{"day": "2011-12-01", "time": "2011-12-01T10:30:00", "price": "1.50"}]


def test_structs_are_one_attribute_a_field() -> None:
    cell = {"place": {"city": "Bonn", "at": [50.7, 7.1]}, "year": 1999}
    table = pa.table({"meta": [cell, None]})
    assert values(table) == [
        {"meta.place.city": "Bonn", "meta.year": 1999},
        {"meta.place.city": None, "meta.year": None},
    ]


def test_lists_of_structs_are_lists() -> None:
    objects = [{"name": "dog", "box": [1, 2]}, {"name": "cat", "box": [3, 4]}]
    assert values(pa.table({"objects": [objects, []]})) == [
        {"objects.name": ("dog", "cat")},
        {"objects.name": ()},
    ]


def test_bytes_maps_boxes_and_other_pictures_are_left_out() -> None:
    table = pa.table(
        {
            "box": [[1.0, 2.0]],
            "raw": [b"x"],
            "mask": [{"bytes": b"x", "path": "m.png"}],
            "map": pa.array([[("a", "b")]], pa.map_(pa.string(), pa.string())),
            "grid": [[["a"]]],
            "nothing": pa.nulls(1),
        }
    )
    assert values(table) == [{}]


@pytest.mark.parametrize("kind", ["List", "Sequence", "old"])
def test_numbers_of_classes_become_names_wherever_they_are(kind: str) -> None:
    label = {"names": ["cat", "dog"], "_type": "ClassLabel"}
    listed = [label] if kind == "old" else {"feature": label, "_type": kind}
    inner = {"category": label, "area": {"dtype": "int64", "_type": "Value"}}
    features = {
        "label": label,
        "several": listed,
        "scene": {"kind": label},
        "objects": {"feature": inner, "_type": "Sequence"},
        "image": {"_type": "Image"},
    }
    table = pa.table(
        {
            "label": [1, -1],
            "several": [[0, 1], None],
            "scene": [{"kind": 0}, {"kind": 7}],
            "objects": [[{"category": 1, "area": 5}], []],
        }
    ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    assert values(table) == [
        {
            "label": "dog",
            "several": ("cat", "dog"),
            "scene.kind": "cat",
            "objects.category": ("dog",),
        },
        {"label": None, "several": None, "scene.kind": None, "objects.category": ()},
    ]


@pytest.mark.parametrize("metadata", [b"", b"{", b"[]", b'{"info": {"features": 3}}'])
def test_metadata_of_another_form_is_passed_over(metadata: bytes) -> None:
    table = pa.table({"label": [1]}).replace_schema_metadata({"huggingface": metadata})
    assert values(table) == [{"label": 1}]
