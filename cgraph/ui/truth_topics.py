"""What can be measured of how far a graph tells the truth: words for people, and what it takes."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from cgraph.study import Study
from cgraph.ui.resources import StudyEntry


@dataclass(frozen=True)
class Measurement:
    """One measurement of `cgraph evaluate`.

    Attributes
    ----------
    question : str
        What it answers.
    takes : str
        What is done for it, and with what.
    pictures : bool
        Whether it needs the images and the model.
    """

    question: str
    takes: str
    pictures: bool


MEASUREMENTS = {
    "rollout": Measurement(
        "how far predictions carry, and what they mean for the model",
        "labels are run through the graph from every start layer, by every rule",
        pictures=False,
    ),
    "references": Measurement(
        "what the graph's figures are to be read beside",
        "other predictors are fitted for every concept; those on raw tokens need the model",
        pictures=False,
    ),
    "evidence": Measurement(
        "whether the edges hold in the network",
        "each parent is taken out of real tokens, or put in, and the next block is run",
        pictures=True,
    ),
    "worth": Measurement(
        "what a child's prediction loses without an edge",
        "each child is predicted again without each of its edges",
        pictures=False,
    ),
    "stability": Measurement(
        "what another seed finds again",
        "dictionaries and graph are fitted again with another seed",
        pictures=True,
    ),
    "leakage": Measurement(
        "what the graph cannot see",
        "each block is run with the class token, then the patches, replaced by their mean",
        pictures=True,
    ),
    "factors": Measurement(
        "whether what images are made of has concepts of its own",
        "every concept is held against every attribute value that is known of the images",
        pictures=False,
    ),
    "direction": Measurement(
        "which of two concepts moves the other",
        "concepts that go together are taken out, one and then the other",
        pictures=True,
    ),
    "flips": Measurement(
        "how many labels flip when a picture is changed a little",
        "pictures are stored as JPEG, made noisy, blurred and attacked, and the network is run",
        pictures=True,
    ),
}
"""What people read of each measurement; one that is not here is called by its name."""


def measurement(name: str) -> Measurement:
    """Return what to say of a measurement."""
    return MEASUREMENTS.get(name) or Measurement(name, name, pictures=True)


def command(entry: StudyEntry, name: str = "") -> str:
    """Return the command that takes a measurement of a study, or all of them."""
    folder = Path(os.path.relpath(entry.folder)) if _is_near(entry.folder) else entry.folder
    only = f" --only {name}" if name else ""
    return f"cgraph evaluate {shlex.quote(str(folder))}{only}"


def _is_near(folder: Path) -> bool:
    return folder.absolute().is_relative_to(Path.cwd())


def hindrance(study: Study, entry: StudyEntry, name: str) -> str:
    """Return why a measurement cannot be taken of a study, or nothing if it can."""
    if measurement(name).pictures and study.manifest.images.get("kind") == "planted images":
        return (
            "The codes of this study were planted, not read from pictures: there is no network "
            "behind them to measure. It can be measured of a study of real images, such as the "
            "built-in one."
        )
    if entry.folder.is_file():
        return (
            "This study lies in a zip file, in which no measurement can be kept. Unpack it first, "
            "then measure the folder."
        )
    return ""
