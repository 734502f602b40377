"""The start of a build: open the inputs, and refuse what cannot work before any time is spent.

A folder that holds a study already is gone on with only if it was made from the same inputs and
settings. What no stage has used yet may still be changed.
"""

from __future__ import annotations

import dataclasses
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cgraph.config import IMPORTED, SPLIT_SHARES, TRAIN, BuildConfig, Precision
from cgraph.errors import ConfigError, ModelError, StudyError
from cgraph.foreign_dictionary import ForeignDictionary
from cgraph.image_reference import as_begun, located, parse_reference, within
from cgraph.image_reference import is_remote as is_hub_set
from cgraph.image_sample import write_sample
from cgraph.images import open_images, sample_rows
from cgraph.imported import find_again, keep_dictionary, take_dictionary
from cgraph.manifest import BUILD_RECORD, MANIFEST, STAGES, Manifest, slug
from cgraph.model_source import resolve_model
from cgraph.object_paths import is_remote
from cgraph.receipts import receipts_folder
from cgraph.shared_folder import PACKAGES
from cgraph.stages import SAMPLE, Job
from cgraph.store import read_json, remove_folder, to_json, write_bytes
from cgraph.vit import VisionModel

_LATER_SETTINGS = ("preset", "keep_tokens", "dictionary.", "predictor.")
"""How the names of settings start that the tokens and the split do not depend on."""


def prepare(
    model: str | Path,
    images: str | Path,
    folder: Path,
    config: BuildConfig,
    origin: dict[str, Any] | None = None,
    revision: str | None = None,
    dictionary: ForeignDictionary | None = None,
) -> tuple[Job, Manifest]:
    """Open the inputs, and start the manifest or check that it speaks of the same inputs.

    Parameters
    ----------
    model : str or Path
        Folder of the model, or its id on the hub.
    images : str or Path
        What `cgraph.images.open_images` takes.
    folder : Path
        The study folder, which the caller has locked.
    config : BuildConfig
    origin : dict, optional
        For a new manifest: what made the model too.
    revision : str, optional
        Of a model on the hub.
    dictionary : ForeignDictionary, optional
        Dictionaries made elsewhere, in place of learning them.

    Raises
    ------
    CgraphError
        If an input cannot be used, the settings do not fit the inputs, or the folder holds
        something else.
    """
    # They may lie in the study folder itself.
    inputs = {Path(model).absolute(), parse_reference(images)}
    others = (p for p in folder.iterdir() if not p.name.startswith(".") and p not in inputs)
    stranger = next(others, None)
    if stranger is not None and not (folder / MANIFEST).is_file():
        raise StudyError(
            f"{folder} holds {stranger.name} but no study. Choose a new folder for --out."
        )
    images = as_begun(images, read_log(folder)["sources"].get("images"))
    image_set = open_images(images)
    rows = sample_rows(len(image_set), config.max_images, config.seed)
    source = resolve_model(model, revision)  # after what is refused without fetching anything
    model = source.folder
    vision = VisionModel.load(
        model,
        device=config.device,
        precision=_precision(config, folder),
        token=config.token,
    )
    taken = b""
    if dictionary is not None:
        config, taken = take_dictionary(config, dictionary, vision.n_layers, vision.d_model)
    _check_fit(config, vision, len(rows))
    if config.dictionary.starts > 1 and not image_set.attribute_names:
        raise ConfigError(
            f"starts is {config.dictionary.starts}, and nothing is known of the images in {images} "
            "by which the best of several dictionaries could be chosen. Set starts to 1, or give "
            "images in named sub-folders or a table with further columns."
        )
    manifest = Manifest(
        name=slug(folder.name),
        model={
            **source.to_dict(),
            "architecture": vision.architecture,
            "family": vision.family,
            "weights_sha256": vision.weights_hash,
            "preprocessing_sha256": vision.preprocessing_hash,
            "n_layers": vision.n_layers,
            "d_model": vision.d_model,
            "token": vision.token,
            **_numbers(vision),
        },
        images={
            "id": image_set.name,
            "kind": image_set.kind,
            "listing": image_set.listing_fingerprint(),
            "n_listed": len(image_set),
            "n_sampled": len(rows),
            "n_parts": -(-len(rows) // config.part_size),
        },
        config=config,
        versions={name: version(name) for name in PACKAGES},
        origin=origin or {},
    )
    if (folder / MANIFEST).is_file():
        manifest = _same_study(Manifest.read(folder), manifest, folder)
    else:
        write_bytes(folder / MANIFEST, to_json(manifest.to_dict()))
    sources = {"model": _source(model, folder), "images": within(image_set.reference, folder)}
    if dictionary is not None:
        sources["dictionary"] = _source(dictionary.path, folder)
        keep_dictionary(folder, taken)
    elif config.dictionary.method == IMPORTED:
        lay = read_log(folder)["sources"].get("dictionary")
        place = None if lay is None else folder / lay
        find_again(folder, config, place, (vision.n_layers, vision.d_model))
        sources |= {} if lay is None else {"dictionary": lay}
    write_bytes(
        folder / BUILD_RECORD, to_json({"sources": sources, "stages": read_log(folder)["stages"]})
    )
    job = Job(
        folder,
        model.absolute(),
        image_set.reference,
        dataclasses.replace(config, precision=vision.precision),
        vision.n_layers,
        int(manifest.images["n_parts"]),
        vision.fingerprint,
        manifest.images["listing"],
    )
    write_sample(folder / SAMPLE, image_set, rows)
    return job, manifest


def _precision(config: BuildConfig, folder: Path) -> Precision:
    """Return the precision asked for; a study goes on in the one that it was started in."""
    if config.precision != "auto" or not (folder / MANIFEST).is_file():
        return config.precision
    recorded: Precision = Manifest.read(folder).model.get("precision", "float32")
    return recorded


def _numbers(vision: VisionModel) -> dict[str, str]:
    """Return what a manifest says of the numbers that a model ran in, where they change tokens."""
    facts = {"precision": vision.precision, "device": vision.device.type}
    usual = {"precision": "float32", "device": "cpu"}
    return {name: value for name, value in facts.items() if value != usual[name]}


def _source(place: Path, folder: Path) -> str:
    """Return where an input lies: within the study folder if it does, so that both can be moved."""
    place = place.absolute()
    inside = not is_remote(folder) and place.is_relative_to(folder)
    return place.relative_to(folder).as_posix() if inside else str(place)


def read_log(folder: Path) -> dict[str, Any]:
    """Return what ``build.json`` says, without what is damaged in it: no study depends on it."""
    try:
        values = read_json(folder / BUILD_RECORD)
    except StudyError:
        values = {}
    values = values if isinstance(values, dict) else {}
    sources, stages = values.get("sources"), values.get("stages")
    return {
        "sources": {
            name: place
            for name, place in (sources if isinstance(sources, dict) else {}).items()
            if isinstance(place, str)
        },
        "stages": stages if isinstance(stages, list) else [],
    }


def read_sources(folder: Path) -> tuple[str | Path, str]:
    """Return where the model and the images lay when a study folder was last built.

    Of the images it is what `cgraph.images.open_images` takes: a path, or a data set of the Hub.

    Raises
    ------
    StudyError
        If that is unknown, or nothing lies there any more.
    """
    sources = read_log(folder)["sources"]
    advice = "Give --model and --images with their places and the settings of the first run."
    if not {"model", "images"} <= sources.keys():
        raise StudyError(
            f"{folder / BUILD_RECORD} is missing or damaged, so it is unknown from which model "
            f"and images the study was started. {advice}"
        )
    places = {name: located(sources[name], folder) for name in ("model", "images")}
    fetched = recorded_commit(folder) is not None and not Path(places["model"]).exists()
    for name, place in places.items():
        elsewhere = is_hub_set(place) or (name == "model" and fetched)
        if not elsewhere and not Path(place).exists():
            raise StudyError(
                f"The {name} of the study in {folder} lay in {place}, where nothing is now. "
                f"{advice}"
            )
    model = Manifest.read(folder).model["id"] if fetched else Path(places["model"])
    return model, places["images"]


def recorded_commit(folder: Path) -> str | None:
    """Return the commit of a study's model on the hub; None if it never was there."""
    commit: str | None = Manifest.read(folder).model.get("commit")
    return commit


def _check_fit(config: BuildConfig, vision: VisionModel, n_images: int) -> None:
    """Refuse settings that the model or the number of images make impossible."""
    dictionary = config.dictionary
    if vision.n_layers < 2:
        raise ModelError(
            f"The model in {vision.path} has {vision.n_layers} layer: a concept graph joins the "
            "concepts of adjacent layers and needs at least 2."
        )
    if dictionary.whiten > vision.d_model:
        raise ConfigError(
            f"whiten is {dictionary.whiten}, and a token of this model has {vision.d_model} "
            "numbers: no more principal components can be kept. Lower whiten."
        )
    width = dictionary.whiten or vision.d_model
    by_pursuit = dictionary.method == "ksvd" or dictionary.encoder == "omp"
    if by_pursuit and dictionary.max_nnz > width:
        raise ConfigError(
            f"max_nnz is {dictionary.max_nnz}, and a prepared token has {width} numbers: a pursuit "
            "finds no more active concepts than that. Lower max_nnz."
        )
    n_atoms = dictionary.n_atoms or 4 * vision.d_model
    most = int(n_images * SPLIT_SHARES[TRAIN])
    if n_atoms > most + 1 and dictionary.method != IMPORTED:
        raise ConfigError(
            f"n_atoms is {n_atoms}, and {n_images} images leave only about {most} for training: a "
            "dictionary needs at least one training image for each atom. Lower n_atoms or give "
            "more images."
        )


def _same_study(found: Manifest, wanted: Manifest, folder: Path) -> Manifest:
    """Return the manifest found, once it is sure that it was made from the same inputs."""
    changes = _differences(found.config.to_dict(), wanted.config.to_dict())
    may_change = "dictionary" not in found.stages and all(
        name.startswith(_LATER_SETTINGS) for name, _, _ in changes
    )
    differences = [] if may_change else [f"{n} {a!r} there, {b!r} asked for" for n, a, b in changes]
    for name in ("weights_sha256", "n_layers", "d_model"):
        if found.model.get(name) != wanted.model[name]:
            differences.append(
                f"the model ({_named(found.model)} there, {_named(wanted.model)} here)"
            )
            break
    else:
        prepared = wanted.model["preprocessing_sha256"]
        if found.model.get("preprocessing_sha256", prepared) != prepared:
            differences.append(
                "the model's preprocessor_config.json (it prepares images otherwise)"
            )
    if found.images.get("listing") != wanted.images["listing"]:
        differences.append(
            f"the images ({found.images.get('n_listed')} there, {wanted.images['n_listed']} here, "
            "or other names or sizes)"
        )
    elif found.images.get("n_parts") != wanted.images["n_parts"] and not differences:
        raise StudyError(
            f"{folder / MANIFEST} is damaged: it speaks of {found.images.get('n_parts')} parts. "
            "Restore it from a copy or build the study again."
        )
    if differences:
        raise StudyError(
            f"{folder} holds a study built from something else: {'; '.join(differences)}. Choose "
            "another folder for --out, give the same inputs, or delete the folder."
        )
    if changes:
        for stage in STAGES[STAGES.index("dictionary") :]:
            remove_folder(receipts_folder(folder, stage))
        found = dataclasses.replace(found, config=wanted.config)
        write_bytes(folder / MANIFEST, to_json(found.to_dict()))
    return found


def _named(model: dict[str, Any]) -> str:
    commit = model.get("commit")
    return (
        f"{model.get('id')} at {commit[:12]}" if isinstance(commit, str) else str(model.get("id"))
    )


def _differences(
    old: dict[str, Any], new: dict[str, Any], prefix: str = ""
) -> list[tuple[str, Any, Any]]:
    found = []
    for name in old:
        if isinstance(old[name], dict):
            found += _differences(old[name], new[name], f"{name}.")
        elif old[name] != new[name]:
            found.append((prefix + name, old[name], new[name]))
    return found
