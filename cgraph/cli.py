"""The command line, ``cgraph build``, ``trace`` and so on.

Results go to standard output, progress and errors to standard error. The exit code is 0 when all
went well, 1 when some of the images given could not be traced, 2 for an error that the message
explains, and 130 after Ctrl-C.
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

from cgraph import __version__, edit_command, graph_command, names_command
from cgraph.config import ENCODERS, METHODS, PRESETS
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

    build = commands.add_parser(
        "build",
        help="build a study from a model and images, or go on with one",
        description="Build a study. With --out alone, go on with a build that was interrupted.",
    )
    build.add_argument("--model", type=Path, help="folder of a Hugging Face vision transformer")
    build.add_argument("--images", type=Path, help="folder of images, or parquet file or folder")
    build.add_argument("--out", type=Path, required=True, help="the study folder to write")
    build.add_argument("--preset", choices=list(PRESETS), help="settings to start from")
    build.add_argument("--method", choices=METHODS, help="how dictionaries are learned")
    build.add_argument(
        "--encoder", choices=ENCODERS, help="what makes the codes: the method's own, or a pursuit"
    )
    build.add_argument("--max-images", type=int, metavar="N", help="size of a seeded sample")
    build.add_argument("--seed", type=int, metavar="N", help="seed of every random step")
    build.add_argument("--n-atoms", type=int, metavar="N", help="concepts of each layer")
    build.add_argument("--max-nnz", type=int, metavar="N", help="most active concepts of a token")
    build.add_argument("--workers", type=int, metavar="N", help="processes; one a core if left out")
    build.set_defaults(run=_build)

    trace = commands.add_parser("trace", help="show the active concepts of images, and their edges")
    trace.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    trace.add_argument("--study", type=Path, required=True, help="a study folder")
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

    info = commands.add_parser("info", help="show a study's settings and held-out figures")
    info.add_argument("study", type=Path, help="a study folder")
    info.add_argument("--json", action="store_true", help="as one JSON object")
    info.set_defaults(run=_info)

    names_command.add_parser(commands)

    demo = commands.add_parser(
        "demo",
        help="make the bundled study again, from nothing",
        description="Draw scenes, train a small CLIP on them and build its study. Takes most of "
        "an hour on two cores; run it again to go on after an interruption.",
    )
    demo.add_argument("--out", type=Path, required=True, help="the study folder to write")
    demo.add_argument("--workers", type=int, metavar="N", help="processes; one a core if left out")
    demo.set_defaults(run=_demo)

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


def _build(options: argparse.Namespace) -> int:
    from cgraph.config import preset
    from cgraph.pipeline import build_study, resume_study

    printer = _ProgressPrinter()
    settings = {
        "seed": options.seed,
        "max_images": options.max_images,
        "n_atoms": options.n_atoms,
        "max_nnz": options.max_nnz,
        "method": options.method,
        "encoder": options.encoder,
    }
    _check_workers(options.workers)
    if options.model is None and options.images is None:
        given = [name for name, value in settings.items() if value is not None]
        if options.preset or given:
            raise ConfigError(
                "--model and --images are missing. Leave all settings away to go on with the "
                "study in --out, or give both for a new one."
            )
        study = resume_study(options.out, workers=options.workers, on_progress=printer)
    elif options.model is None or options.images is None:
        missing = "--model" if options.model is None else "--images"
        raise ConfigError(f"{missing} is missing: a new study needs a model and images.")
    else:
        config = preset(options.preset or "default").with_options(**settings)
        study = build_study(
            options.model,
            options.images,
            options.out,
            config,
            workers=options.workers,
            on_progress=printer,
        )
    printer.end()
    images = study.manifest.images
    if images["n_skipped"]:
        print(
            f"{images['n_skipped']} images could not be read and were left out; "
            f"{study.path / 'skipped.arrow'} lists them with the reasons.",
            file=sys.stderr,
        )
    _print_info(study.info())
    return 0


def _check_workers(workers: int | None) -> None:
    if workers is not None and workers < 1:
        raise ConfigError(f"--workers is {workers}: it must be at least 1.")


def _demo(options: argparse.Namespace) -> int:
    from cgraph.demo.remake import remake

    _check_workers(options.workers)
    printer = _ProgressPrinter()
    study = remake(options.out, workers=options.workers, on_progress=printer)
    printer.end()
    _print_info(study.info())
    return 0


def _planted(options: argparse.Namespace) -> int:
    from cgraph.planted_config import PlantedConfig
    from cgraph.planted_study import write_planted_study
    from cgraph.study import Study

    given = {field: getattr(options, name) for name, (field, _) in _PLANTED_SIZES.items()}
    config = PlantedConfig(**{field: size for field, size in given.items() if size is not None})
    printer = _ProgressPrinter()
    write_planted_study(options.out, config, model=options.model, on_progress=printer)
    printer.end()
    _print_info(Study.open(options.out).info())
    return 0


class _ProgressPrinter:
    """Prints progress: one moving line on a terminal, one line for each stage elsewhere."""

    def __init__(self) -> None:
        self._moving = sys.stderr.isatty()
        self._stage = ""
        self._width = 0

    def __call__(self, progress: Any, remark: str = "") -> None:
        text = f"{progress}; {remark}" if remark else str(progress)
        if self._moving:
            if progress.stage != self._stage and self._stage:
                print(file=sys.stderr)
            print(f"\r{text:<{self._width}}", end="", file=sys.stderr, flush=True)
            self._width = len(text)
        elif progress.stage != self._stage or progress.done == progress.total:
            print(text, file=sys.stderr, flush=True)
        self._stage = progress.stage

    def end(self) -> None:
        """Leave the moving line."""
        if self._moving and self._stage:
            print(file=sys.stderr)


def _trace(options: argparse.Namespace) -> int:
    from cgraph.decoding import load_image
    from cgraph.store import write_bytes
    from cgraph.study import Study
    from cgraph.study_names import marked
    from cgraph.trace_export import concepts_csv, edges_csv
    from cgraph.trace_text import trace_text
    from cgraph.tracing import load_model, trace_image

    if options.json is not None and not Path(options.json).name and options.json != "-":
        raise ConfigError(f"--json is {options.json!r}: give the name of a file to write.")
    study = Study.open(options.study)
    names_command.warn(study)
    model = None
    traces, failed = [], 0
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

    def name_of(concept: Any) -> str:
        name = study.name_of(concept)
        return "" if name is None else marked(name)

    if options.json != "-":
        for trace in traces:
            print(trace_text(trace, name_of))
    if options.csv:
        write_bytes(options.csv / "concepts.csv", concepts_csv(traces, name_of).encode())
        write_bytes(options.csv / "edges.csv", edges_csv(traces, name_of).encode())
    if options.json:
        text = json.dumps([trace.to_dict() for trace in traces], indent=1, allow_nan=False)
        if options.json == "-":
            print(text)
        else:
            write_bytes(Path(options.json), f"{text}\n".encode())
    return 1 if failed else 0


def _info(options: argparse.Namespace) -> int:
    from cgraph.study import Study

    study = Study.open(options.study)
    study.verify()
    info = study.info()
    if options.json:
        print(json.dumps(info, indent=1, allow_nan=False))
    else:
        _print_info(info)
    return 0


def _print_info(info: dict[str, Any]) -> None:
    model, images, config = info["model"], info["images"], info["config"]
    dictionary = config["dictionary"]
    print(
        f"{info['name']}: {model['id']} ({model['family']}, {model['n_layers']} layers of width "
        f"{model['d_model']}) on {images['n']} images of {images['id']}"
    )
    print(
        f"preset {config['preset']}, {dictionary['method']}, at most {dictionary['max_nnz']} "
        f"active of {info['layers'][0]['n_concepts']}, seed {config['seed']}, "
        f"{info['n_edges']} edges"
    )
    print(
        f"split: {images['n_train']} train, {images['n_tune']} tune, "
        f"{images['n_held_out']} held out; all figures below are of held-out images\n"
    )
    _print_rows(
        ["layer", "explained", "nonzeros", "dead", "rare", "named"],
        [
            [
                layer["layer"],
                _number(layer["explained_variance"]),
                _number(layer["nonzeros_mean"], 1),
                layer["n_dead"],
                layer["n_rare"],
                n_named,
            ]
            for layer, n_named in zip(info["layers"], info["n_named"], strict=True)
        ],
    )
    print(
        "\nAUC of the graph beside that of the best single parent and of the nearest atom's "
        "pre-activation;\naverages over the scored concepts, of those alive, of all\n"
    )
    _print_rows(
        ["pair", "AUC", "std", "median", "one parent", "nearest", "AP", "prevalence", "F1 bal",
         "F1 nat", "parents", "scored", "alive", "all"],
        [
            [
                f"{pair['left']}→{pair['right']}",
                *[
                    _number(pair[name])
                    for name in (
                        "auc_mean", "auc_std", "auc_median", "auc_best_parent_mean",
                        "auc_nearest_mean", "ap_mean", "prevalence_mean", "f1_balanced_mean",
                        "f1_natural_mean",
                    )
                ],
                _number(pair["parents_mean"], 1),
                pair["n_scored"],
                pair["n_alive"],
                pair["n_concepts"],
            ]
            for pair in info["pairs"]
        ],
    )  # fmt: skip
    if "quality" in info:
        _print_quality(info["quality"])


def _print_quality(quality: dict[str, Any]) -> None:
    print("\nheld-out scenes: AUC from the last class token; correlation with the best concept\n")
    _print_rows(
        ["attribute", "AUC", "correlation"],
        [
            [name, _number(quality["auc"].get(name)), _number(quality["mcc"].get(name))]
            for name in dict.fromkeys([*quality["auc"], *quality["mcc"]])
        ],
    )
    print(
        f"captions find colour and shape of {quality['zero_shot']['conjunction']:.1%} of the "
        "scenes with one object, among 64 pairs"
    )


def _print_rows(head: list[str], rows: list[list[Any]]) -> None:
    cells = [head, *[[str(value) for value in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        print("  ".join(f"{value:>{width}}" for value, width in zip(row, widths, strict=True)))


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())
