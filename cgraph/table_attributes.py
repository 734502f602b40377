"""The columns of a table as attributes of images.

A column of text, whole numbers, numbers or truth values is an attribute, and so are dates and
times (as text in ISO form), decimal numbers (as text) and lists of text (an attribute of several
values). A struct gives one attribute for each of its fields, ``name.field``; a list of structs
gives lists. Numbers of classes become the names of the classes where Hugging Face datasets
recorded them, also in lists and structs. Left out are bytes, maps, and lists of numbers that name
no classes, such as boxes and embeddings.
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cgraph.image_set import AttributeValue


@dataclass(frozen=True)
class Attribute:
    """One attribute, and where its values stand in a row of a table."""

    name: str
    steps: tuple[str, ...]
    """Column, then the fields of structs on the way to the value."""

    @property
    def column(self) -> str:
        """The column of the table."""
        return self.steps[0]


_SINGLE = (
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_date,
    pa.types.is_time,
    pa.types.is_timestamp,
)
# Kinds of values, besides text, that an image may have one of.


def table_attributes(
    schema: pa.Schema, classes: Mapping[str, list[str]], without: Collection[str] = ()
) -> list[Attribute]:
    """Return the attributes that a table has, in the order of its columns.

    Parameters
    ----------
    schema : pyarrow.Schema
    classes : mapping
        From `class_names`.
    without : collection of str
        Columns that are no attributes.
    """
    found: list[Attribute] = []
    for field in schema:
        if field.name not in without:
            found += _attributes(field.name, (field.name,), field.type, classes, in_list=False)
    return found


def _attributes(
    name: str,
    steps: tuple[str, ...],
    kind: pa.DataType,
    classes: Mapping[str, list[str]],
    in_list: bool,
) -> Iterator[Attribute]:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if is_list(kind):
        # A list in a list has no place: an attribute is one value or several.
        if not in_list:
            yield from _attributes(name, steps, kind.value_type, classes, in_list=True)
    elif pa.types.is_struct(kind):
        # One with bytes is another picture, a sound or a film.
        if all(not is_bytes(kind.field(n).type) for n in range(kind.num_fields)):
            for n in range(kind.num_fields):
                field = kind.field(n)
                inner = (*steps, field.name)
                yield from _attributes(f"{name}.{field.name}", inner, field.type, classes, in_list)
    else:
        named = is_text(kind) or (pa.types.is_integer(kind) and name in classes)
        if named or (not in_list and any(is_kind(kind) for is_kind in _SINGLE)):
            yield Attribute(name, steps)


def class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Return the names of the classes of attributes, where Hugging Face datasets recorded them.

    Source: the key ``huggingface`` of the schema's metadata, whose ``info.features`` hold the type
    ``ClassLabel`` with its ``names``, in structs and lists too.
    """
    found: dict[str, list[str]] = {}
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        for name, feature in features.items():
            _add_classes(name, feature, found)
    except (KeyError, TypeError, AttributeError, ValueError):
        pass  # no such metadata, or of another program
    return found


def _add_classes(name: str, feature: Any, found: dict[str, list[str]]) -> None:
    if isinstance(feature, list):  # how older versions write lists
        for item in feature:
            _add_classes(name, item, found)
    elif isinstance(feature, dict):
        kind = feature.get("_type")
        if kind == "ClassLabel":
            found[name] = [str(text) for text in feature["names"]]
        elif isinstance(kind, str) and "feature" in feature:  # Sequence, List, LargeList
            _add_classes(name, feature["feature"], found)
        elif not isinstance(kind, str):
            for field, inner in feature.items():
                _add_classes(f"{name}.{field}", inner, found)


def attribute_value(
    row: Mapping[str, Any], attribute: Attribute, classes: Mapping[str, list[str]]
) -> AttributeValue:
    """Return what one row has of an attribute.

    Parameters
    ----------
    row : mapping
        Columns and their values, as Arrow's ``to_pylist`` gives them.
    attribute : Attribute
    classes : mapping
        From `class_names`.
    """
    return _plain(_at(row, attribute.steps), classes.get(attribute.name))


def _at(value: Any, steps: tuple[str, ...]) -> Any:
    for n, step in enumerate(steps):
        if isinstance(value, list):
            return [_at(item, steps[n:]) for item in value]
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _plain(value: Any, names: list[str] | None) -> AttributeValue:
    if isinstance(value, list):
        texts = (_plain(item, names) for item in value if not isinstance(item, list))
        return tuple(text for text in texts if isinstance(text, str))
    if isinstance(value, float) and not math.isfinite(value):
        return None  # how missing numbers are stored by tools without a null
    if names is not None and isinstance(value, int):
        return names[value] if 0 <= value < len(names) else None
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value)
    return value


def is_text(kind: pa.DataType) -> bool:
    """Return whether a column holds text."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def is_list(kind: pa.DataType) -> bool:
    """Return whether a column holds lists."""
    return (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def is_bytes(kind: pa.DataType) -> bool:
    """Return whether a column holds bytes."""
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
