"""The command line, ``cgraph build``, ``trace`` and so on.

Results go to standard output, progress and errors to standard error. The exit code is 0 when all
went well, 1 when some of the images given could not be traced or a rule of a policy is violated, 2
for an error that the message explains or a rule that is inconclusive, and 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import io
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cgraph import (
    __version__,
    build_command,
    check_command,
    compare_command,
    demo_command,
    edit_command,
    evaluate_command,
    graph_command,
    names_command,
    outputs_command,
    travel_command,
)
from cgraph.console import ProgressPrinter, print_info
from cgraph.errors import CgraphError, ConfigError, ImageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal or file of another encoding shows some signs as "?", and ends no command.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return options.run(options)
    except CgraphError as error:
        print(f"cgraph: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "\ncgraph: stopped. Finished work is kept; run the same command again to go on.",
            file=sys.stderr,
        )
        return 130
    except MemoryError:
        print(
            "cgraph: memory ran out. Finished work is kept: run the same command again, with "
            "--workers 1 or fewer images.",
            file=sys.stderr,
        )
        return 2
    except BrokenPipeError:
        # The reader of our output, such as `head`, has seen enough.
        sys.stderr.close()
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cgraph", description="Concept graphs of vision transformers."
    )
    parser.add_argument("--version", action="version", version=f"cgraph {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    build_command.add_parsers(commands)

    trace = commands.add_parser("trace", help="show the active concepts of images, and their edges")
    trace.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    trace.add_argument("--study", required=True, help="a study folder or zip file")
    trace.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write the traces as JSON to a file, or to standard output in place of the text",
    )
    trace.add_argument(
        "--csv",
        type=Path,
        metavar="FOLDER",
        help="write concepts.csv and edges.csv, a row each, to a folder",
    )
    trace.set_defaults(run=_trace)

    graph_command.add_parser(commands)
    edit_command.add_parser(commands)
    evaluate_command.add_parser(commands)
    outputs_command.add_parser(commands)
    compare_command.add_parser(commands)
    check_command.add_parser(commands)

    names_command.add_parser(commands)
    travel_command.add_parsers(commands)

    demo_command.add_parser(commands)

    planted = commands.add_parser(
        "planted",
        help="write a study of any size with planted concepts, for tests and measurements",
        description="Write a study whose codes and graph are planted, without a model or images. "
        "Sizes that are left out are the paper's.",
    )
    planted.add_argument("--out", type=Path, required=True, help="the study folder to write")
    for name, meaning in _PLANTED_SIZES.items():
        planted.add_argument(f"--{name}", type=int, metavar="N", help=meaning[1])
    planted.add_argument("--model", action="store_true", help="with a random model, for uploads")
    planted.set_defaults(run=_planted)
    return parser


_PLANTED_SIZES = {
    "layers": ("n_layers", "layers of the model"),
    "atoms": ("n_atoms", "concepts of each layer"),
    "width": ("d_model", "numbers of a class token"),
    "active": ("max_nnz", "active concepts of an image at each layer"),
    "images": ("n_images", "images"),
    "edges": ("n_edges", "edges of the graph, over all layers"),
    "seed": ("seed", "seed of every random step"),
}
# Options of `cgraph planted`: the setting that each is, and what it means.


def _planted(options: argparse.Namespace) -> int:
    from cgraph.planted_config import PlantedConfig
    from cgraph.planted_study import write_planted_study
    from cgraph.study import Study

    given = {field: getattr(options, name) for name, (field, _) in _PLANTED_SIZES.items()}
    config = PlantedConfig(**{field: size for field, size in given.items() if size is not None})
    printer = ProgressPrinter()
    write_planted_study(options.out, config, model=options.model, on_progress=printer)
    printer.end()
    print_info(Study.open(options.out).info())
    return 0


def _trace(options: argparse.Namespace) -> int:
    from cgraph.decoding import load_image
    from cgraph.output_readings import outputs_of_picture
    from cgraph.outside import outside
    from cgraph.store import write_bytes
    from cgraph.study import Study
    from cgraph.study_graph import edge_facts
    from cgraph.study_names import marked
    from cgraph.trace_export import concepts_csv, edges_csv, trace_values
    from cgraph.trace_text import trace_text
    from cgraph.tracing import load_model, trace_image

    if options.json is not None and not Path(options.json).name and options.json != "-":
        raise ConfigError(f"--json is {options.json!r}: give the name of a file to write.")
    study = Study.open(options.study)
    names_command.warn(study)
    model = None
    traces, failed = [], 0
    of_outputs: list[list[Any]] = []
    for path in options.images:
        try:
            image = load_image(path, str(path))
        except ImageError as error:
            print(f"cgraph: {error}", file=sys.stderr)
            failed += 1
            continue
        if model is None:
            model = load_model(study)
        traces.append(trace_image(study, model, image, path.name))
        of_outputs.append(outputs_of_picture(study, model, image))

    def name_of(concept: Any) -> str:
        name = study.name_of(concept)
        return "" if name is None else marked(name)

    facts = edge_facts(study)
    if options.json != "-":
        unseen = [layer.sentence() for layer in outside(study) or ()]
        for trace, states in zip(traces, of_outputs, strict=True):
            print(trace_text(trace, name_of, facts=facts, outside=unseen))
            if states:
                print("\n".join(["outputs", *(f"  {state.sentence}" for state in states), ""]))
    if options.csv:
        write_bytes(options.csv / "concepts.csv", concepts_csv(traces, name_of).encode())
        write_bytes(options.csv / "edges.csv", edges_csv(traces, name_of, facts).encode())
    if options.json:
        text = json.dumps(
            [
                trace_values(trace, facts)
                | ({"outputs": [state.to_dict() for state in states]} if states else {})
                for trace, states in zip(traces, of_outputs, strict=True)
            ],
            indent=1,
            allow_nan=False,
        )
        if options.json == "-":
            print(text)
        else:
            write_bytes(Path(options.json), f"{text}\n".encode())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
