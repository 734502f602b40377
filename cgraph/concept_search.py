"""Finding concepts by name, attribute or id, and reading sets of concepts that people name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cgraph.concept import ConceptId
from cgraph.errors import ConfigError
from cgraph.graph import ConceptGraph
from cgraph.naming import ConceptName

_LAYER = re.compile(r"[Ll]([0-9]{1,4})")
_IN_LAYER = re.compile(r"(.+?)\s+in\s+[Ll]([0-9]{1,4})", re.S)


@dataclass(frozen=True)
class Named:
    """Concepts and what they are called.

    Attributes
    ----------
    graph : ConceptGraph
    names : mapping of ConceptId to ConceptName
        Names by attribute, of those that have one.
    others : mapping of ConceptId to str
        Names of any other origin: given by hand, or found by text.
    """

    graph: ConceptGraph
    names: Mapping[ConceptId, ConceptName]
    others: Mapping[ConceptId, str] = field(default_factory=dict)

    def search(self, text: str) -> tuple[ConceptId, ...]:
        """Find concepts by what somebody types.

        Parameters
        ----------
        text : str
            Words, all of which must fit: an id such as ``L7/609``, a layer such as ``L7``, an
            index such as ``609``, or a part of a name, of an attribute or of its value. An
            equals sign counts as a space, so ``colour=purple`` finds what ``colour purple`` does.

        Returns
        -------
        tuple of ConceptId
            The best fit first: whole names, then values, then parts; of equals the better match
            with its attribute, then the layer and index. Nothing for an empty text.
        """
        words = text.replace("=", " ").casefold().split()
        if not words:
            return ()
        layers, indices, parts = set(), set(), []
        for word in words:
            try:
                found = ConceptId.parse(word.upper())
            except ConfigError:
                if layer := _LAYER.fullmatch(word):
                    layers.add(int(layer[1]))
                elif word.isascii() and word.isdigit() and len(word) <= 9:
                    indices.add(int(word))
                else:
                    parts.append(word)
            else:
                return (found,) if self._exists(found) else ()
        if parts:
            # Beside words a number belongs to a name, such as "sand 2".
            whole = " ".join(word for word in words if not _LAYER.fullmatch(word))
            parts += [str(index) for index in sorted(indices)]
            return self._by_words(whole, parts, layers)
        return tuple(
            ConceptId(layer, index)
            for layer in range(1, self.graph.n_layers + 1)
            if not layers or layer in layers
            for index in (sorted(indices) or range(self.graph.n_concepts(layer)))
            if index < self.graph.n_concepts(layer)
        )

    def read_set(
        self, text: str, groups: Mapping[str, Sequence[ConceptId]] | None = None
    ) -> tuple[ConceptId, ...]:
        """Read a set of concepts.

        Parameters
        ----------
        text : str
            One or several of these, with commas between: an id such as ``L7/609``; a layer such
            as ``L7``; a group of pinned concepts; an attribute with its value, such as
            ``colour=purple``; a name or value, such as ``purple``. The last two may be held to a
            layer: ``purple in L7``.
        groups : mapping of str to sequence of ConceptId, optional
            Concepts by the label of their group.

        Returns
        -------
        tuple of ConceptId
            Each once, rising; never empty.

        Raises
        ------
        ConfigError
            If a part means nothing here; the message says what does.
        """
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if not parts:
            raise ConfigError(
                "No concept is named. Write an id such as L7/609, or a name or group."
            )
        found: set[ConceptId] = set()
        for part in parts:
            found.update(self._read_part(part, groups or {}))
        return tuple(sorted(found))

    def _read_part(
        self, part: str, groups: Mapping[str, Sequence[ConceptId]]
    ) -> Sequence[ConceptId]:
        if re.fullmatch(r"[A-Za-z][0-9]+/[0-9]+", part):
            concept = ConceptId.parse(part.upper())
            self.graph.concept_row(concept)
            return (concept,)
        for label, members in groups.items():
            if label.casefold() == part.casefold():
                return members
        if layer := _LAYER.fullmatch(part):
            n = self.graph.n_concepts(int(layer[1]))
            return [ConceptId(int(layer[1]), index) for index in range(n)]
        wanted, layers = part, None
        if split := _IN_LAYER.fullmatch(part):
            wanted, layers = split[1], int(split[2])
            self.graph.n_concepts(layers)
        found = [
            concept
            for concept, name, other in self._called()
            if layers in (None, concept.layer)
            and (
                wanted.casefold() == other.casefold()
                or (name is not None and _is_called(name, wanted.casefold()))
            )
        ]
        if found:
            return found
        known = sorted(
            {text for name in self.names.values() for text in (name.text, name.value)}
            | set(self.others.values())
        )
        close = difflib.get_close_matches(wanted, [*known, *groups], n=3)
        hint = f" Close to it: {', '.join(close)}." if close else ""
        raise ConfigError(
            f"{part!r} is no concept, group, attribute or name here.{hint} Write an id such as "
            "L7/609, a layer such as L7, a name, an attribute such as colour=purple, or a group "
            "of pinned concepts."
        )

    def _exists(self, concept: ConceptId) -> bool:
        try:
            self.graph.concept_row(concept)
        except ConfigError:
            return False
        return True

    def _by_words(self, whole: str, parts: list[str], layers: set[int]) -> tuple[ConceptId, ...]:
        fits = []
        for concept, name, other in self._called():
            if layers and concept.layer not in layers:
                continue
            words = f"{_words_of(name)} {other.casefold()}"
            if all(part in words for part in parts):
                texts = [text.casefold() for text in (other, name.text if name else "") if text]
                value = name.value.casefold() if name else ""
                values = (value, f"{name.attribute.casefold()} {value}") if name else ()
                starts = any(text.startswith(whole) for text in texts)
                rank = (whole not in texts, whole not in values, not starts)
                fits.append((rank, -round(name.strength if name else 0.0, 6), concept))
        return tuple(concept for *_, concept in sorted(fits))

    def _called(self) -> Iterator[tuple[ConceptId, ConceptName | None, str]]:
        """Return every concept that has a name of either kind, rising."""
        for concept in sorted({*self.names, *self.others}):
            yield concept, self.names.get(concept), self.others.get(concept, "")


def _words_of(name: ConceptName | None) -> str:
    if name is None:
        return ""
    second = name.second or ("", "")
    return " ".join((name.text, name.attribute, name.value, *second)).casefold()


def _is_called(name: ConceptName, wanted: str) -> bool:
    attribute, equals, value = wanted.partition("=")
    if equals:
        pairs = [(name.attribute, name.value), *([name.second] if name.second else [])]
        asked = attribute.strip(), value.strip()
        return any((a.casefold(), v.casefold()) == asked for a, v in pairs)
    return wanted in (name.text.casefold(), name.value.casefold())
