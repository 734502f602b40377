"""Policies as texts: examples made of what a study has, and rules added to what somebody wrote."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cgraph.concept import ConceptId
from cgraph.errors import ConfigError
from cgraph.policy_rules import KINDS
from cgraph.policy_subject import Subject

KIND_WORDS = {
    "no-path": "No path from A to B",
    "through": "Every path from A to B passes M",
    "influence": "Influence of A on B is small",
    "flips": "Few flips of A never switch B",
    "never-together": "A and B are never active together",
}
"""What each kind of rule says."""

MOST_CHOICES = 400
"""Most entries that are offered to choose a set from; any other can be typed."""


@dataclass(frozen=True)
class SetChoice:
    """Concepts that can be chosen for a rule.

    Attributes
    ----------
    label : str
        What stands in the list.
    keys : tuple of (str, value)
        Keys of the set in the file.
    name : str
        What the set is called if no other has that name.
    """

    label: str
    keys: tuple[tuple[str, Any], ...]
    name: str


def choices(subject: Subject) -> list[SetChoice]:
    """Return what sets can be made of in a study: outputs, attributes, their values, names."""
    found = [_output(name) for name in subject.outputs]
    columns = subject.known().columns
    attributes = list(dict.fromkeys(attribute for attribute, _ in columns))
    found += [
        SetChoice(f"{attribute} (any value)", (("attribute", attribute),), attribute)
        for attribute in attributes
    ]
    found += [
        SetChoice(f"{attribute}={value}", (("attribute", attribute), ("value", [value])), value)
        for attribute, value in columns
    ]
    counts = Counter(filter(None, map(subject.called, _concepts(subject))))
    found += [
        SetChoice(f"called “{name}” ({n})", (("names", [name]),), name)
        for name, n in sorted(counts.items())
    ]
    return found[:MOST_CHOICES]


def typed_choice(text: str) -> SetChoice:
    """Return what somebody typed as a set: an output, or anything that concepts are called by."""
    text = text.strip()
    if text.startswith("O/"):
        return _output(text.removeprefix("O/"))
    if re.fullmatch(r"[A-Za-z][0-9]+/[0-9]+", text):
        return SetChoice(text, (("ids", [text.upper()]),), text.replace("/", "-"))
    return SetChoice(text, (("names", [text]),), text)


def _output(name: str) -> SetChoice:
    return SetChoice(f"output O/{name}", (("outputs", [name]),), name)


def _concepts(subject: Subject) -> list[ConceptId]:
    return sorted({*subject.named.names, *subject.named.others})


# ---- rules added to a text


def with_rule(
    text: str, kind: str, sets: Mapping[str, SetChoice], limits: Mapping[str, Any]
) -> str:
    """Return a policy with one more rule at its end, and the sets that it lacks.

    Parameters
    ----------
    text : str
        Valid TOML, or nothing.
    kind : str
        One of `KINDS`.
    sets : mapping of str to SetChoice
        By role: ``from``, ``to``, ``via``.
    limits : mapping of str to value
        Further keys of the rule.

    Raises
    ------
    ConfigError
        If the text is no TOML, so that nothing can be added to it.
    """
    try:
        known = tomllib.loads(text).get("sets", {})
        rules = tomllib.loads(text).get("rules", [])
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"Mend the text first: it is no TOML, {error}.") from None
    known = dict(known) if isinstance(known, dict) else {}
    blocks = []
    names = {}
    for role, choice in sets.items():
        values = dict(choice.keys)
        name = next((name for name, entry in known.items() if entry == values), None)
        if name is None:
            name = _free(choice.name, known)
            known[name] = values
            blocks.append(_table(f"[sets.{_key(name)}]", values))
        names[role] = name
    taken = [rule.get("id") for rule in rules if isinstance(rule, dict)] if rules else []
    rule = {"id": _free(kind, taken), "kind": kind, **names, **limits}
    blocks.append(_table("[[rules]]", rule))
    return "\n\n".join([*([text.strip()] if text.strip() else []), *blocks]) + "\n"


def _free(wanted: str, taken: Any) -> str:
    """Return a name that is not taken, out of letters that need no quotes."""
    slug = re.sub(r"[^A-Za-z0-9_]+", "-", wanted).strip("-").lower()[:40] or "set"
    number = 1
    while (name := slug if number == 1 else f"{slug}-{number}") in taken:
        number += 1
    return name


def _table(head: str, values: Mapping[str, Any]) -> str:
    return "\n".join([head, *(f"{_key(key)} = {_value(value)}" for key, value in values.items())])


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)


def _value(value: Any) -> str:
    """Write a value as TOML: that of JSON, but for signs that TOML wants escaped."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Sequence):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value)


# ---- examples


def examples(subject: Subject) -> dict[str, str]:
    """Return a policy for each kind of rule, and first one with several rules.

    They name what the study has, so that each can be checked as it is. A study of one layer has
    none.
    """
    if subject.n_layers < 2:
        return {}
    ends = _ends(subject)
    limits: dict[str, dict[str, Any]] = {
        "no-path": {"max_length": 3, "min_strength": 0.01},
        "through": {"min_strength": 1e-4},
        "influence": {"at_most": 0.05},
        "flips": {"budget": 1, "max_images": 60},
        "never-together": {"at_most": 0.02},
    }
    found: dict[str, str] = {}
    for kind in KINDS:
        sets = dict(ends.of(kind))
        head = f"[policy]\nname = {_value(KIND_WORDS[kind])}\n"
        note = {"note": ends.note(kind)}
        found[kind] = with_rule(head, kind, sets, limits[kind] | note)
    several = '[policy]\nname = "A first policy"\n'
    for kind in ("no-path", "influence", "never-together"):
        several = with_rule(several, kind, ends.of(kind), limits[kind])
    return {"several": several, **found}


@dataclass(frozen=True)
class _Ends:
    """Sets that examples are about; `early` is the source held to the first layers."""

    source: SetChoice
    early: SetChoice
    via: SetChoice
    target: SetChoice
    flipped: SetChoice

    def of(self, kind: str) -> dict[str, SetChoice]:
        source = {"flips": self.flipped, "through": self.early}.get(kind, self.source)
        found = {"from": source, "to": self.target}
        return found | ({"via": self.via} if kind == "through" else {})

    def note(self, kind: str) -> str:
        source, via, target = self.source.label, self.via.label, self.target.label
        return {
            "no-path": f"{source} should not lead to {target} on a short, strong way.",
            "through": f"{source} may lead to {target} by way of {via} only.",
            "influence": f"Taking {source} out should hardly move {target}.",
            "flips": f"A few mistaken labels should not decide {target}.",
            "never-together": f"{source} and {target} should exclude each other.",
        }[kind]


def _ends(subject: Subject) -> _Ends:
    """Choose what examples are about: a value of the images and an output, where there are any."""
    last, middle = subject.n_layers, max(1, subject.n_layers // 2)
    target = _output(subject.outputs[0]) if subject.outputs else _one(subject, last, ())
    flipped = SetChoice(f"layer {middle}", (("names", [f"L{middle}"]),), f"layer-{middle}")
    named = {
        pair: concepts
        for pair, concepts in _by_value(subject).items()
        if not _words(pair[1]) & _words(target.name)
    }
    source = early = None
    taken: set[ConceptId] = set()
    for pair, concepts in named.items():
        if any(concept.layer < last for concept in concepts) and source is None:
            source = _held(pair, 1, last - 1)
            taken = set(concepts)
            if any(concept.layer <= middle for concept in concepts):
                early = _held(pair, 1, middle)
    if source is None:
        source = early = _one(subject, 1, ())
    via = next(
        (
            _held(pair, 2, last - 1)
            for pair, concepts in named.items()
            if not taken & set(concepts) and any(1 < c.layer < last for c in concepts)
        ),
        None,
    )
    return _Ends(source, early or source, via or _one(subject, middle, taken), target, flipped)


def _words(name: str) -> set[str]:
    return set(re.findall(r"\w+", name.casefold()))


def _held(pair: tuple[str, str], first: int, last: int) -> SetChoice:
    """Return the concepts named after a value in some layers."""
    text = "=".join(pair)
    keys = ("names", [text]), ("layers", [first, last])
    return SetChoice(pair[1], keys, pair[1])


def _one(subject: Subject, layer: int, taken: Collection[ConceptId]) -> SetChoice:
    """Return the concept of a layer with the most positives, as a set."""
    counts = subject.graph.column(layer, "n_train").copy()
    for concept in taken:
        if concept.layer == layer:
            counts[concept.index] = -1
    concept = ConceptId(layer, int(counts.argmax()))
    called = subject.called(concept)
    label = f"{called} ({concept})" if called else str(concept)
    return SetChoice(label, (("ids", [str(concept)]),), called or f"L{layer}-{concept.index}")


def _by_value(subject: Subject) -> dict[tuple[str, str], tuple[ConceptId, ...]]:
    """Return the concepts named after each value, those of most concepts first.

    Where images have a background, its values come first: it is what should matter least.
    """
    found: dict[tuple[str, str], tuple[ConceptId, ...]] = {}
    for name in subject.named.names.values():
        pair = name.attribute, name.value
        if pair not in found:
            found[pair] = subject.named.read_set("=".join(pair)) if "," not in pair[1] else ()

    def rank(pair: tuple[str, str]) -> tuple[bool, int, tuple[str, str]]:
        return pair[0] != "background", -len(found[pair]), pair

    return {pair: found[pair] for pair in sorted(found, key=rank) if found[pair]}
