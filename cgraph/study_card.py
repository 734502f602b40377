"""The card of a study on the Hub: what it is, how good it is, how to open it."""

from __future__ import annotations

from typing import Any

from cgraph.store import plain_rows
from cgraph.study import Study

CARD = "README.md"

WRITTEN = "<!-- Written by cgraph push. Remove this line, and your own text stays. -->"
"""Stands in a card that may be written anew."""


def study_card(study: Study, repository: str) -> str:
    """Return the card of a study.

    Parameters
    ----------
    study : Study
    repository : str
        ``owner/name``, for the command that gets the study.

    Returns
    -------
    str
        Markdown with the metadata that the Hub reads. The same study gives the same text.
    """
    model, images, config = study.manifest.model, study.manifest.images, study.config
    dictionary = config.dictionary
    n_concepts = study.graph.n_concepts(1)
    pairs = [_pair(pair) for pair in plain_rows(study.evaluation("pairs"))]
    return "\n".join(
        [
            "---",
            "tags:",
            "- cgraph",
            "- interpretability",
            f"- {_yaml(model['family'])}",
            f"pretty_name: {_yaml(study.name)}",
            "---",
            WRITTEN,
            "",
            f"# {study.name}",
            "",
            f"A study made with cgraph: the concept graph of {_cell(model['id'])} on "
            f"{images['n']} images of {_cell(images['id'])}.",
            "",
            "| | |",
            "| --- | --- |",
            f"| model | {_cell(model['id'])} ({_cell(model['architecture'])}), "
            f"{study.n_layers} layers of width {study.d_model} |",
            f"| images | {_cell(images['id'])} ({_cell(images.get('kind', 'images'))}): "
            f"{images['n_train']} train, {images['n_tune']} tune, "
            f"{images['n_held_out']} held out |",
            f"| dictionary | {dictionary.method}, {n_concepts} concepts a layer, at most "
            f"{dictionary.max_nnz} active |",
            f"| edges | {study.graph.n_edges} |",
            f"| preset, seed | {_cell(config.preset)}, {config.seed} |",
            "",
            "How well the concepts of a layer are predicted by those of the layer before, on "
            "images that took part in no fit; means over the scored concepts:",
            "",
            "| pair | AUC | F1, balanced | F1, natural | parents | scored of all |",
            "| --- | --- | --- | --- | --- | --- |",
            *pairs,
            "",
            "Get it and look at it:",
            "",
            "```bash",
            f"cgraph pull {repository} studies/{study.name}",
            "streamlit run app.py",
            "```",
            "",
        ]
    )


def _pair(pair: dict[str, Any]) -> str:
    figures = ("auc_mean", "f1_balanced_mean", "f1_natural_mean")
    values = [_number(pair[name], 3) for name in figures] + [_number(pair["parents_mean"], 1)]
    scored = f"{pair['n_scored']} of {pair['n_concepts']}"
    return f"| {pair['left']}→{pair['right']} | {' | '.join(values)} | {scored} |"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _cell(text: Any) -> str:
    """Return text that cannot end a table's cell or start another kind of mark."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;").replace("`", "'")


def _yaml(text: Any) -> str:
    quoted = " ".join(str(text).split()).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"'
