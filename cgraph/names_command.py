"""The command ``cgraph names``: names out of a study, names into it, and names by text."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from cgraph.errors import ConfigError


def add_parser(commands: Any) -> None:
    """Add the command to those of the command line."""
    names = commands.add_parser(
        "names",
        help="write or read the names of a study's concepts, or find names by text",
        description="Names of concepts: given by hand, found by attribute, or found by text.",
    )
    kinds = names.add_subparsers(required=True, metavar="WHAT")

    export = kinds.add_parser("export", help="write all names to a CSV or JSON file")
    export.add_argument("study", help="a study folder")
    export.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="ends in .csv or .json"
    )
    export.set_defaults(run=_export)

    take = kinds.add_parser(
        "import",
        help="give the names of a file to the study's concepts",
        description="Names given by hand are taken over with author and date; measured names that "
        "were changed in the file become names by hand. All of the file or nothing.",
    )
    take.add_argument("study", help="a study folder")
    take.add_argument("file", type=Path, metavar="FILE", help="a .csv or .json file")
    take.add_argument("--author", metavar="NAME", help="whose names they are, if it does not say")
    take.set_defaults(run=_import)

    text = kinds.add_parser(
        "text",
        help="find words for all concepts, where the model knows texts",
        description="Run the study's tune and held-out images and a vocabulary through the model, "
        "and store for every concept the three words that go with it best.",
    )
    text.add_argument("study", help="a study folder")
    text.add_argument("--vocabulary", type=Path, metavar="FILE", help="one word or phrase a line")
    text.add_argument(
        "--template",
        action="append",
        metavar="TEXT",
        help="a sentence with {} for the word, such as 'a photo of a {}'; may be repeated",
    )
    text.add_argument(
        "--images", metavar="SET", help="where the study's images lie now, as for cgraph build"
    )
    text.set_defaults(run=_text)


def _export(options: argparse.Namespace) -> int:
    from cgraph.name_files import SUFFIXES, names_csv, names_json
    from cgraph.store import write_bytes
    from cgraph.study import Study

    suffix = options.out.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(f"--out is {str(options.out)!r}: its name must end in .csv or .json.")
    study = Study.open(options.study)
    content = names_csv(study) if suffix == ".csv" else names_json(study)
    warn(study)
    write_bytes(options.out, content.encode())
    n_names, n_given = len(study.naming.all()), len(study.naming.by_hand)
    print(f"{n_names} names, {n_given} of them given by hand, written to {options.out}.")
    return 0


def _import(options: argparse.Namespace) -> int:
    from cgraph.name_files import import_names
    from cgraph.study import Study

    study = Study.open(options.study)
    done = import_names(study, options.file, author=options.author)
    print(
        f"{done.n_new} names given, {done.n_changed} changed, {done.n_unchanged} as they were "
        f"before, in {options.study}."
    )
    return 0


def _text(options: argparse.Namespace) -> int:
    from cgraph.study import Study
    from cgraph.text_naming import TEMPLATES, name_study_by_text, read_vocabulary

    study = Study.open(options.study)
    vocabulary = None if options.vocabulary is None else read_vocabulary(options.vocabulary)
    found = name_study_by_text(
        study,
        vocabulary=vocabulary,
        templates=options.template or TEMPLATES,
        images=options.images,
        on_progress=_progress,
    )
    print(file=sys.stderr)
    print(
        f"{len(found.vocabulary)} words; {found.n_unknown} more were left out, because the model "
        "does not know them\n"
    )
    print("layer  named  of   correlation on tune  on held-out  same word as by attribute")
    for layer, names in found.layers.items():
        named = [(index, name) for index, name in enumerate(names) if name.text]
        both = [
            (measured.value, name.matches[0].text)
            for index, name in named
            if (measured := _by_attribute(study, layer, index)) is not None
        ]
        same = sum(value == text for value, text in both)
        best = [name.matches[0] for _, name in named]
        print(
            f"{layer:5}  {len(named):5}  {len(names):<5}{_mean([m.score_tune for m in best]):>18}"
            f"  {_mean([m.score for m in best]):>11}  {same:>11} of {len(both)}"
        )
    return 0


def _by_attribute(study: Any, layer: int, index: int) -> Any:
    from cgraph.concept import ConceptId

    return study.names.get(ConceptId(layer, index))


def _mean(values: list[float]) -> str:
    return f"{sum(values) / len(values):.2f}" if values else "–"


def _progress(done: int, total: int) -> None:
    print(f"\r{done} of {total} images", end="", file=sys.stderr, flush=True)


def warn(study: Any) -> None:
    """Say on standard error why names given by hand cannot be shown, if that is so."""
    if study.naming.problem:
        print(f"cgraph: names by hand are left out. {study.naming.problem}", file=sys.stderr)
