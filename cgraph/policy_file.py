"""Reading a policy: TOML to `cgraph.policy_rules.Policy`, with every mistake at its line."""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cgraph.errors import ConfigError, PolicyError, Problem
from cgraph.policy_rules import EVIDENCE, FLIPS, KINDS, PARTS, WHERE, ConceptSet, Policy, Rule
from cgraph.toml_lines import Lines, key_lines

MOST_BYTES = 1_000_000
"""Largest policy that is read."""

MOST_DRAWS = 10_000

_SYNTAX_PLACE = re.compile(r" \(at line (\d+), column \d+\)$")
_PATHS = ("no-path", "through")


@dataclass(frozen=True)
class _Key:
    """A key of a table: how its value is read, in which kinds of rules, and its field."""

    read: Callable[[Any], Any]
    kinds: tuple[str, ...] = KINDS
    field: str = ""


class _Wrong(Exception):
    """A value that is not allowed; its text says what is."""


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _Wrong("a text in quotes is needed")
    return value.strip()


def _texts(value: Any) -> tuple[str, ...]:
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(e, str) and e.strip() for e in listed):
        raise _Wrong('a text or a list of texts is needed, such as ["L7/12", "L8/3"]')
    if not listed:
        raise _Wrong("the list is empty: name at least one")
    return tuple(dict.fromkeys(entry.strip() for entry in listed))


def _number(least: float, most: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            raise _Wrong("a number is needed")
        if not least <= value <= most or math.isinf(value):
            upper = f" and at most {most:g}" if math.isfinite(most) else ""
            raise _Wrong(f"a number of at least {least:g}{upper} is needed")
        return float(value)

    return read


def _whole(least: int, most: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise _Wrong(f"a whole number between {least} and {most:,} is needed")
        return value

    return read


def _one_of(allowed: tuple[str, ...]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in allowed:
            raise _Wrong(f"allowed: {', '.join(allowed)}{_close(value, allowed)}")
        return str(value)

    return read


def _evidence(value: Any) -> tuple[str, ...]:
    return tuple(map(_one_of(EVIDENCE), _texts(value)))


def _layers(value: Any) -> tuple[int, int]:
    ends = [value, value] if isinstance(value, int) else value
    whole = isinstance(ends, list) and all(
        isinstance(end, int) and not isinstance(end, bool) for end in ends
    )
    if not whole or len(ends) != 2 or isinstance(value, bool):
        raise _Wrong("a first and a last layer are needed, such as [1, 11]")
    if not 1 <= ends[0] <= ends[1]:
        raise _Wrong("layers count from 1, and the first must not come after the last")
    return ends[0], ends[1]


_POLICY_KEYS = {
    "name": _Key(_text),
    "study": _Key(_text),
    "note": _Key(_text),
    "seed": _Key(_whole(0, 10**12)),
    "draws": _Key(_whole(0, MOST_DRAWS)),
}

_SET_KEYS = {
    "ids": _Key(_texts),
    "names": _Key(_texts),
    "attribute": _Key(_text),
    "value": _Key(_texts, field="values"),
    "strength": _Key(_number(0, 1)),
    "layers": _Key(_layers),
    "outputs": _Key(_texts),
}
_MEMBERS = ("ids", "names", "attribute", "outputs")

_RULE_KEYS = {
    "id": _Key(_text),
    "kind": _Key(_one_of(KINDS)),
    "from": _Key(_text, field="source"),
    "to": _Key(_text, field="target"),
    "via": _Key(_text, ("through",)),
    "note": _Key(_text),
    "max_length": _Key(_whole(1, 10_000), _PATHS),
    "min_weight": _Key(_number(0, math.inf), _PATHS),
    "min_strength": _Key(_number(0, 1), _PATHS),
    "evidence": _Key(_evidence, _PATHS),
    "at_most": _Key(_number(0, 1), ("influence", "never-together")),
    "worst_at_most": _Key(_number(0, 1), ("influence",)),
    "where": _Key(_one_of(WHERE), ("influence",)),
    "flip": _Key(_one_of(FLIPS), ("influence",)),
    "layer": _Key(_whole(1, 10_000), ("flips",)),
    "budget": _Key(_whole(1, 10_000), ("flips",)),
    "images": _Key(_one_of(PARTS), ("influence", "flips", "never-together")),
    "max_images": _Key(_whole(1, 10**9), ("influence", "flips")),
    "max_outside": _Key(_number(0, 1), ("no-path", "through", "influence", "flips")),
    "max_unknown": _Key(_number(0, 1)),
    "time_limit": _Key(_number(0.001, 10**6)),
}
_NEEDED = {"influence": ("at_most",), "flips": ("budget",), "through": ("via",)}
_TABLES = ("policy", "sets", "rules")


def read_policy(source: str | Path) -> Policy:
    """Read a policy.

    Parameters
    ----------
    source : str or Path
        The text itself, or a `Path` to its file.

    Returns
    -------
    Policy

    Raises
    ------
    PolicyError
        If it is no TOML, or says what no policy can; with all mistakes, each at its line.
    ConfigError
        If the file cannot be read.
    """
    origin, text = "The policy", source
    if isinstance(source, Path):
        origin = str(source)
        try:
            with source.open("rb") as file:
                raw = file.read(MOST_BYTES + 1)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{source} cannot be read: {getattr(error, 'strerror', None) or error}. Give the "
                "place of a policy, a TOML file."
            ) from None
        text = _decoded(raw, origin) if len(raw) <= MOST_BYTES else " " * len(raw)
    assert isinstance(text, str)
    if len(text) > MOST_BYTES:
        raise PolicyError(origin, [Problem(0, f"It has more than {MOST_BYTES:,} characters.")])
    values = _toml(text, origin)
    reader = _Reader(key_lines(text))
    policy = reader.policy(values, origin)
    if reader.problems:
        raise PolicyError(origin, reader.problems)
    return policy


def _decoded(raw: bytes, origin: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        text = "This is no UTF-8, in which TOML is written. Save the file in UTF-8."
        raise PolicyError(origin, [Problem(line, text)]) from None


def _toml(text: str, origin: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        place = _SYNTAX_PLACE.search(message)
        at_end = text.rstrip().count("\n") + 1
        line = int(place[1]) if place else at_end
        what = _SYNTAX_PLACE.sub("", message).removesuffix(" (at end of document)")
        written = text.splitlines()[line - 1].strip()[:80] if text.splitlines()[line - 1 :] else ""
        raise PolicyError(
            origin, [Problem(line, f"This is no TOML: {what}, in {written!r}.{_advice(written)}")]
        ) from None
    except (RecursionError, ValueError) as error:
        # Brackets within brackets without end, or a number of thousands of digits.
        what = "its brackets go too deep" if isinstance(error, RecursionError) else str(error)
        raise PolicyError(origin, [Problem(0, f"This is no TOML: {what}.")]) from None


def _advice(written: str) -> str:
    """Say what is usually meant by a line that is no TOML."""
    key, colon, _ = written.partition(":")
    if colon and key.strip().isidentifier():
        return f" Write {key.strip()} = … in place of the colon."
    key, equals, value = written.partition("=")
    if equals and value.strip()[:1].isalpha() and value.strip() not in ("true", "false"):
        return f' Texts stand in quotes: {key.strip()} = "{value.strip()}".'
    return ""


def _close(wanted: Any, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(wanted), list(known), n=1)
    return f". Did you mean {close[0]!r}?" if close else ""


class _Reader:
    """Turns values into a policy and notes every mistake on the way."""

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.problems: list[Problem] = []

    def note(self, message: str, *path: str | int, value: str | None = None) -> None:
        self.problems.append(Problem(self.lines.of(*path, value=value), message))

    def policy(self, values: Mapping[str, Any], origin: str) -> Policy:
        for name in values:
            if name not in _TABLES:
                self.note(
                    f"There is no table or key {name!r} in a policy. Allowed: [policy], "
                    f"[sets.NAME] and [[rules]]{_close(name, _TABLES) or '.'}",
                    name,
                )
        head = self._table(values.get("policy", {}), _POLICY_KEYS, "[policy]", "policy")
        sets = self._sets(values.get("sets", {}))
        rules = self._rules(values.get("rules", []), values.get("sets", {}))
        name = head.pop("name", None) or Path(origin).stem
        return Policy(name, **head, sets=sets, rules=rules, origin=origin, lines=self.lines)

    def _table(
        self, values: Any, keys: Mapping[str, _Key], what: str, *path: str | int, kind: str = ""
    ) -> dict[str, Any]:
        """Read the values of a table; those with a mistake are left out."""
        if not isinstance(values, dict):
            self.note(f"{what} is {_shown(values)}: a table with keys is needed.", *path)
            return {}
        found = {}
        for name, value in values.items():
            key = keys.get(name)
            allowed = [other for other, one in keys.items() if not kind or kind in one.kinds]
            if key is None or name not in allowed:
                why = f"There is no key {name!r} in {what}"
                if key is not None:
                    why = f"{name} means nothing in {what}"
                close = _close(name, allowed)
                self.note(f"{why}{close or '. Allowed: ' + ', '.join(allowed) + '.'}", *path, name)
                continue
            try:
                found[key.field or name] = key.read(value)
            except _Wrong as error:
                end = "" if str(error).endswith("?") else "."
                self.note(f"{name} is {_shown(value)}: {error}{end}", *path, name)
        return found

    def _sets(self, values: Any) -> tuple[ConceptSet, ...]:
        if not isinstance(values, dict):
            self.note(f"sets is {_shown(values)}: write a table [sets.NAME] for each.", "sets")
            return ()
        found = []
        for name, entry in values.items():
            read = self._table(entry, _SET_KEYS, f"the set {name!r}", "sets", name)
            found.append(ConceptSet(name, **read))
            if isinstance(entry, dict):
                self._check_set(name, entry)
        return tuple(found)

    def _check_set(self, name: str, entry: Mapping[str, Any]) -> None:
        if not any(key in entry for key in _MEMBERS):
            self.note(
                f"The set {name!r} is empty. Say by one of {', '.join(_MEMBERS)} which concepts "
                "are meant.",
                *("sets", name),
            )
        for key, needed in (
            ("value", ("attribute",)),
            ("strength", ("attribute",)),
            ("layers", ("attribute", "names")),
        ):
            if key in entry and not any(other in entry for other in needed):
                self.note(
                    f"{key} of the set {name!r} means nothing without {' or '.join(needed)}. "
                    "Leave it out, or add the other.",
                    *("sets", name, key),
                )

    def _rules(self, values: Any, sets: Any) -> tuple[Rule, ...]:
        if not isinstance(values, list) or not all(isinstance(entry, dict) for entry in values):
            self.note(f"rules is {_shown(values)}: write [[rules]] above each rule.", "rules")
            return ()
        if not values:
            self.note("The policy has no rules. Write [[rules]] above each rule.")
        known = list(sets) if isinstance(sets, dict) else []
        found: list[Rule] = []
        for place, entry in enumerate(values):
            rule = self._rule(place, entry, known)
            if rule is None:
                continue
            if any(rule.id == other.id for other in found):
                self.note(
                    f"There are two rules {rule.id!r}. Give each an id of its own.",
                    *("rules", place, "id"),
                )
            found.append(rule)
        return tuple(found)

    def _rule(self, place: int, entry: Mapping[str, Any], known: list[str]) -> Rule | None:
        path = ("rules", place)
        name = entry.get("id", f"rule-{place + 1}")
        kind = entry.get("kind")
        kind = kind if isinstance(kind, str) and kind in KINDS else ""
        before = len(self.problems)
        what = f"a rule of kind {kind}" if kind else "a rule"
        read = self._table(entry, _RULE_KEYS, what, *path, kind=kind)
        for key in ("kind", "from", "to", *_NEEDED.get(kind, ())):
            if key not in entry:
                self.note(f"The rule {name!r} lacks {key}.{_EXAMPLES.get(key, '')}", *path)
        self._check_sets(path, read, known)
        if len(self.problems) > before or not kind:
            return None
        read.setdefault("id", f"rule-{place + 1}")
        rule = Rule(**read, line=self.lines.of(*path))
        worst = rule.worst_at_most
        if worst is not None and rule.where == "network":
            self.note(
                "worst_at_most is of probabilities, which the network has none of: there a label "
                'is another or not. Leave it out, or say where = "both".',
                *(*path, "worst_at_most"),
            )
        if worst is not None and worst < rule.at_most:
            self.note(
                f"worst_at_most is {worst:g} and at_most {rule.at_most:g}: no mean is larger than "
                "the largest, so at_most says nothing. Raise the first or lower the second.",
                *(*path, "worst_at_most"),
            )
        return rule

    def _check_sets(
        self, path: tuple[str | int, ...], read: Mapping[str, Any], known: list[str]
    ) -> None:
        named: dict[str, str] = {}
        for key, field in (("from", "source"), ("to", "target"), ("via", "via")):
            name = read.get(field)
            if name is None:
                continue
            if name not in known:
                there = ". The file has no sets: write [sets.NAME]" if not known else ""
                close = _close(name, known)
                listed = f". There are: {', '.join(known)}" if known and not close else ""
                end = "" if close else "."
                self.note(
                    f"There is no set {name!r}{there}{close}{listed}{end}", *path, key, value=name
                )
            elif name in named:
                self.note(
                    f"{named[name]} and {key} are both {name!r}: a concept cannot be in both. "
                    "Name two sets.",
                    *(*path, key),
                )
            named[name] = key


_EXAMPLES = {
    "kind": f" Allowed: {', '.join(KINDS)}.",
    "from": ' Name a set: from = "background".',
    "to": ' Name a set: to = "verdict".',
    "via": ' Name the set that every path must pass: via = "texture".',
    "at_most": " Say how large the change may be: at_most = 0.05.",
    "budget": " Say how many concepts may be flipped: budget = 2.",
}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
