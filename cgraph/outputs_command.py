"""The command ``cgraph outputs``: what the model says in the end, as nodes of the graph."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from cgraph.console import number, print_rows
from cgraph.errors import ConfigError
from cgraph.job_commands import check_workers

if TYPE_CHECKING:
    from cgraph.study import Study


def add_parser(commands: Any) -> None:
    """Add the command to those of the command line."""
    outputs = commands.add_parser(
        "outputs",
        help="make classes or texts nodes after the last layer, or list them",
        description="A class of the model's head, or the likeness to a typed text above a "
        "threshold, becomes a node O/NAME after the last layer, predicted from its labels like any "
        "concept. All images of the study are run through the whole model. Without --text, --class "
        "and --remove the outputs that are there are listed.",
    )
    outputs.add_argument("study", help="a study folder")
    outputs.add_argument(
        "--text", action="append", default=[], metavar="TEXT", help="a text; may be repeated"
    )
    outputs.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="TEXT",
        help="hold the texts against this one: its likeness is taken off, of several their mean",
    )
    outputs.add_argument(
        "--class",
        action="append",
        default=[],
        dest="classes",
        metavar="CLASS",
        help="a class of the model's head, by name or number; may be repeated",
    )
    outputs.add_argument(
        "--name", metavar="NAME", help="what to call the output, if one is added; else its text"
    )
    outputs.add_argument(
        "--threshold",
        type=float,
        metavar="X",
        help="on from this cosine or probability on, if one is added. Without it a text is on in "
        "the upper of two groups of training images (Otsu 1979), a class where it is the likeliest",
    )
    outputs.add_argument(
        "--remove", action="append", default=[], metavar="NAME", help="an output to take out"
    )
    outputs.add_argument(
        "--again", action="store_true", help="measure anew what is there; all, if none is named"
    )
    outputs.add_argument(
        "--refit",
        action="store_true",
        help="only fit the predictors for rollouts anew; cgraph evaluate does it by itself",
    )
    outputs.add_argument(
        "--images", metavar="SET", help="where the study's images lie now, as for cgraph build"
    )
    outputs.add_argument("--workers", type=int, metavar="N", help="processes; one a core")
    outputs.add_argument("--json", action="store_true", help="print the outputs as JSON")
    outputs.set_defaults(run=_outputs)


def _outputs(options: argparse.Namespace) -> int:
    from cgraph.study import Study

    n_added = len(options.text) + len(options.classes)
    for name, given in (("--name", options.name), ("--threshold", options.threshold)):
        if given is not None and n_added != 1:
            raise ConfigError(
                f"{name} is of one output, and {n_added} are added. Add them one after another."
            )
    if options.against and not options.text:
        raise ConfigError("--against is for texts. Give the --text that is held against it.")
    check_workers(options.workers)
    if options.remove:
        from cgraph.output_making import remove_outputs

        remove_outputs(options.study, options.remove)
    if n_added or options.again:
        _add(options)
    if options.refit:
        from cgraph.output_making import refit_outputs
        from cgraph.store import folder_lock

        study = Study.open(options.study)
        with folder_lock(study.path):
            refit_outputs(study.path)
    _print(Study.open(options.study), as_json=options.json)
    return 0


def _add(options: argparse.Namespace) -> None:
    from cgraph.console import ProgressPrinter
    from cgraph.output_making import add_outputs
    from cgraph.output_tables import CLASS_SOURCE, TEXT_SOURCE
    from cgraph.output_values import Asked

    asked = [
        Asked(source, text, options.name, options.threshold, tuple(options.against))
        for source, texts in ((TEXT_SOURCE, options.text), (CLASS_SOURCE, options.classes))
        for text in texts
    ]
    printer = ProgressPrinter()
    add_outputs(
        options.study,
        asked,
        images=options.images,
        workers=options.workers,
        again=options.again,
        on_progress=printer,
    )
    printer.end()


def _print(study: Study, *, as_json: bool) -> None:
    nodes = study.outputs.nodes if study.outputs else ()
    if as_json:
        print(json.dumps([node.to_dict() for node in nodes], indent=1, ensure_ascii=False))
        return
    if not nodes:
        print(
            f"The study {study.name!r} has no outputs. Add one with --text or --class, such as "
            f"`cgraph outputs {study.path} --text 'a dog'`."
        )
        return
    print_rows(
        ["output", "on where", "train", "tune", "held out", "AUC", "AP", "F1", "parents"],
        [
            [
                node.written, node.meaning, node.n_train, node.n_tune, node.n_held_out,
                *(number(None if v != v else v) for v in (node.auc, node.ap, node.f1)),
                node.n_parents,
            ]
            for node in nodes
        ],
    )  # fmt: skip
