"""The paper's own figures, and what differs between its experiment and a study."""

from __future__ import annotations

from cgraph.study import Study
from cgraph.ui import words

PAIR = "11 → 12"
AUC_MEAN, AUC_STD, AUC_MEDIAN = 0.897, 0.073, 0.914
F1_MEAN, F1_STD, F1_MEDIAN = 0.84, 0.09, 0.86
N_CONCEPTS = 3072
PEAKS = (24, 66)

NOT_SAID = "not said"


def differences(study: Study) -> list[tuple[str, str, str]]:
    """Return in what the paper's experiment and a study differ: what, the paper, the study.

    Parameters
    ----------
    study : Study

    Returns
    -------
    list of (str, str, str)
        In plain words; equal ones are listed too.
    """
    config, images, model = study.config, study.manifest.images, study.manifest.model
    dictionary, predictor = config.dictionary, config.predictor
    counts = sorted({study.graph.n_concepts(layer) for layer in range(1, study.n_layers + 1)})
    sizes = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    last = study.graph.prevalence(study.n_layers)
    penalty = f"{predictor.penalty:g}"
    if predictor.penalty_unit == "per-positive":
        penalty += " × positives of the bag"
    planted = " (planted, not fitted)" if config.preset == "planted" else ""
    n_held_out = images.get("n_held_out", 0)
    return [
        (
            "model",
            "CLIP ViT-B/32, 12 layers, width 768",
            f"{model['id']} ({model['architecture']}), {study.n_layers} layers, width "
            f"{study.d_model}",
        ),
        ("read of the model", "class token", study.manifest.token_words),
        (
            "images",
            "about 100,000 captioned photographs (SBU)",
            f"{images['n']:,}, {images.get('kind', images['id'])}",
        ),
        ("dictionary", "K-SVD", f"{dictionary.method}{planted}"),
        ("concepts of a layer", f"{N_CONCEPTS:,} = 4 × width", sizes),
        (
            "active concepts of an image",
            "at most 10",
            f"at most {dictionary.max_nnz}"
            if dictionary.mean_nnz is None
            else f"about {dictionary.mean_nnz}, varying",
        ),
        (
            "prevalence of a concept",
            "about 0.3 %",
            f"{words.percent(float(last.mean()))} in the last layer, on average",
        ),
        ("inputs of a predictor", "codes or labels", predictor.inputs),
        ("penalty μ", "5.0", f"{penalty}{planted}"),
        (
            "measured on",
            NOT_SAID,
            f"{n_held_out:,} held-out images that took part in no fit",
        ),
        (
            "world of F1",
            f"{NOT_SAID}; most likely balanced, as its fits are",
            "both, told apart",
        ),
    ]
