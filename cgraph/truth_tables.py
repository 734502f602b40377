"""What was measured of how far a graph tells the truth: the tables, their columns, their words.

`cgraph evaluate` writes them into the folder ``truth`` of a study. Each measurement has tables of
its own and is there as a whole or not at all. All figures are of held-out images. What could not
be measured is NaN, or a verdict that says so.
"""

from __future__ import annotations

import pyarrow as pa

from cgraph.edits import REFITTED_RULE

FOLDER = "truth"
STAGE = "truth"
"""What the manifest calls the stage of these files; no stage of a build."""

REFITTED = REFITTED_RULE
"""The rule with predictors refitted on what is passed on; the default where it was measured."""

SPECIFIC, SUPPORTED, NO_EFFECT, CONTRADICTED, NOT_MEASURED = VERDICTS = (
    "specific",
    "supported",
    "no effect",
    "contradicted",
    "not measured",
)
"""Verdicts about an edge; *specific* ones are supported, and go beyond geometry, too."""

CARRIED, COMPUTED, BOTH_ORIGINS, NO_ORIGIN = ORIGINS = ("carried", "computed", "both", "")
"""Where the effect of an edge comes from: the residual stream, the block, both, or unknown."""

ROLLOUT_SCHEMA = pa.schema(
    [
        ("start", pa.int16()),  # layer whose true labels were given
        ("layer", pa.int16()),  # layer that is judged, start + 1 … L
        ("rule", pa.string()),  # max, top-k, sample, probabilities, refitted
        ("probability", pa.string()),  # balanced, prior, calibrated
        ("forced", pa.bool_()),  # teacher-forced: the layer before was given its true labels
        ("auc", pa.float64()),
        ("ap", pa.float64()),
        ("prevalence", pa.float64()),  # mean over the scored concepts; read AP beside it
        ("f1", pa.float64()),  # of active sets, mean over images
        ("jaccard", pa.float64()),
        ("n_active", pa.float64()),  # predicted, mean over images
        ("n_active_true", pa.float64()),
        ("n_scored", pa.int32()),
    ]
)
"""Columns of ``truth/rollout.arrow``; means over the scored concepts of a layer."""

REFITTED_EDGE_SCHEMA = pa.schema(
    [
        ("start", pa.int16()),  # start layer of the rollouts that it was fitted for
        ("child_layer", pa.int16()),
        ("weight", pa.float32()),  # log-odds per label, or per probability 1 that is passed on
    ]
)
"""Columns of ``truth/refitted-edges.arrow``: for every start layer, rising, a row for each edge of
the graph into a later layer, in the order of ``graph/edges.arrow``. Not what people read."""

REFITTED_CONCEPT_SCHEMA = pa.schema(
    [
        ("start", pa.int16()),
        ("layer", pa.int16()),
        ("index", pa.int32()),
        ("intercept", pa.float32()),  # less the log-odds of the prevalence, as of a balanced fit
        ("slope", pa.float32()),
        ("offset", pa.float32()),
        ("threshold", pa.float32()),
    ]
)
"""Columns of ``truth/refitted-concepts.arrow``: for every start layer, rising, a row for each
concept of a later layer, with what ``graph/concepts.arrow`` holds of its edge predictor."""

REFERENCE_SCHEMA = pa.schema(
    [
        ("start", pa.int16()),
        ("layer", pa.int16()),
        ("reference", pa.string()),
        ("auc", pa.float64()),
        ("ap", pa.float64()),
        ("prevalence", pa.float64()),
        ("n_scored", pa.int32()),
    ]
)
"""Columns of ``truth/references.arrow``: what the figures of rollouts are to be read beside."""

PREVALENCE, BEST_PARENT, NEAREST, RANDOM_PARENTS, DENSE, TABULAR, TOKEN, DIRECT = REFERENCES = (
    "prevalence alone",
    "best single parent",
    "nearest atom's pre-activation",
    "random parents",
    "all labels, dense",
    "tabular network",
    "raw class token",
    "direct",
)
"""References. All but *direct* go from a layer to the next; *direct*, *all labels, dense* and *raw
class token* also from every start layer to the last."""

DECODED_SCHEMA = pa.schema(
    [
        ("start", pa.int16()),  # 0 of TRUE_LABELS and MEAN_TOKEN, which no rollout led to
        ("rule", pa.string()),  # of ROLLOUT_SCHEMA, or one of these two
        ("probability", pa.string()),
        ("cosine", pa.float64()),  # decoded to real class token, both less the mean
        ("explained_variance", pa.float64()),
        ("same_top", pa.float64()),  # share of images with the same top class; NaN without a head
        ("n_images", pa.int32()),
        ("decoder", pa.string()),  # how tokens were made of labels; of cgraph.rollout_decoding
    ]
)
"""Columns of ``truth/decoded.arrow``: what rolled-out labels of layer L mean for the model."""

TRUE_LABELS, MEAN_TOKEN = "true labels", "mean token"
"""What rows of ``decoded`` are to be read beside: the decoder at its best, and knowing nothing."""

EDGE_KEY = [
    ("parent_layer", pa.int16()),
    ("parent", pa.int32()),
    ("child_layer", pa.int16()),
    ("child", pa.int32()),
]
"""First columns of every table of edges; one row for each edge of the graph, in the same order."""

EVIDENCE_SCHEMA = pa.schema(
    [
        *EDGE_KEY,
        ("n_images", pa.int32()),  # in which the parent was taken out or put in
        ("effect", pa.float32()),  # change of the child's pre-activation in the weight's direction,
        ("effect_low", pa.float32()),  # in units of its standard deviation; 95 % interval
        ("effect_high", pa.float32()),
        ("control", pa.float32()),  # the same of the first controls
        ("q_supported", pa.float32()),  # false discovery rate over the edges of the pair
        ("beyond", pa.float32()),  # effect beyond matched non-parents
        ("beyond_low", pa.float32()),
        ("beyond_high", pa.float32()),
        ("q_specific", pa.float32()),
        ("carried", pa.float32()),  # part of `effect` that the residual stream carries
        ("computed", pa.float32()),  # part that the block makes beyond it
        ("computed_low", pa.float32()),
        ("computed_high", pa.float32()),
        ("flips", pa.float32()),  # share of images in which the child's label flips as foretold
        ("flips_control", pa.float32()),
        ("origin", pa.string()),  # of ORIGINS
        ("verdict", pa.string()),  # of VERDICTS
    ]
)
"""Columns of ``truth/evidence.arrow``."""

EVIDENCE_PAIR_SCHEMA = pa.schema(
    [
        ("left", pa.int16()),
        ("right", pa.int16()),
        ("n_edges", pa.int32()),
        ("n_measured", pa.int32()),
        ("n_specific", pa.int32()),
        ("n_supported", pa.int32()),  # supported and not specific
        ("n_no_effect", pa.int32()),
        ("n_contradicted", pa.int32()),
        ("n_positive", pa.int32()),  # measured edges of positive weight, and of these:
        ("n_positive_specific", pa.int32()),
        ("n_positive_supported", pa.int32()),
        ("n_positive_contradicted", pa.int32()),
        ("n_controls", pa.int32()),  # non-edges put through the same test as positive edges
        ("n_controls_supported", pa.int32()),
        ("n_carried", pa.int32()),
        ("n_computed", pa.int32()),
        ("n_both", pa.int32()),  # both carried and computed
        ("weight_effect", pa.float64()),  # rank correlation
        ("weight_effect_shuffled", pa.float64()),  # the same with edges shuffled, mean
        ("weight_effect_shuffled_high", pa.float64()),  # its 95 % point
        ("joint_lost", pa.float64()),  # label lost when all active parents are taken out
        ("joint_control_lost", pa.float64()),  # equal-norm non-parents in their place
        ("n_joint", pa.int32()),
        ("max_error", pa.float64()),  # class-token block against the full block, largest difference
    ]
)
"""Columns of ``truth/evidence-pairs.arrow``."""

WORTH_SCHEMA = pa.schema([*EDGE_KEY, ("auc_drop", pa.float32()), ("ap_drop", pa.float32())])
"""Columns of ``truth/worth.arrow``: held-out figures lost by the child without the edge."""

STABLE_CONCEPT_SCHEMA = pa.schema(
    [
        ("layer", pa.int16()),
        ("index", pa.int32()),
        ("match", pa.int32()),  # atom of the other seed; -1 for a dead concept
        ("cosine", pa.float64()),
        ("label_jaccard", pa.float64()),
        ("found_again", pa.bool_()),
    ]
)
"""Columns of ``truth/stable-concepts.arrow``: the same study with another seed."""

STABLE_EDGE_SCHEMA = pa.schema(
    [
        *EDGE_KEY,
        ("found_again", pa.bool_()),  # between the matched concepts of the other seed
        ("found_again_bags", pa.bool_()),  # same dictionary, other bags
    ]
)
"""Columns of ``truth/stable-edges.arrow``."""

STABLE_LAYER_SCHEMA = pa.schema(
    [
        ("layer", pa.int16()),
        ("n_alive", pa.int32()),
        ("n_found_again", pa.int32()),
        ("cosine", pa.float64()),  # median over the alive concepts of that to the match
        ("n_found_rotated", pa.int32()),  # by chance: the other atoms turned at random,
        ("cosine_rotated", pa.float64()),
        ("n_found_tokens", pa.int32()),  # and training tokens at random in their place
        ("cosine_tokens", pa.float64()),
        ("jaccard", pa.float64()),  # median of the labels of the pairs
        ("jaccard_chance", pa.float64()),  # of independent labels as frequent as those
        ("n_edges", pa.int32()),  # into the layer
        ("n_edges_matched", pa.int32()),  # with both ends found again, and of these:
        ("n_edges_found_again", pa.int32()),
        ("n_edges_chance", pa.float64()),  # expected of as many edges of each child, laid at random
        ("n_edges_found_bags", pa.int32()),  # of all: same dictionary, other bags
        ("n_edges_chance_bags", pa.float64()),
    ]
)
"""Columns of ``truth/stable-layers.arrow``, a row for each layer."""

LEAKAGE_SCHEMA = pa.schema(
    [
        ("layer", pa.int16()),
        ("from_class", pa.float64()),  # relative change when the class token before is its mean
        ("from_patches", pa.float64()),  # when all other tokens before are theirs
        ("labels_from_class", pa.float64()),  # share of active labels lost by the same
        ("labels_from_patches", pa.float64()),
        ("left_out", pa.float64()),  # share of the token's variance that its code leaves out
        ("auc_graph", pa.float64()),
        ("auc_token", pa.float64()),  # logistic on the raw class token of the layer before
        ("outside", pa.float64()),  # share of `from_class + from_patches` that is patches
    ]
)
"""Columns of ``truth/leakage.arrow``, a row for each layer. Shares of class token and patches are
NaN where the study reads no class token; AUCs are at layer 1, and means over scored concepts."""

LEAKAGE_CONCEPT_SCHEMA = pa.schema(
    [
        ("layer", pa.int16()),
        ("index", pa.int32()),
        ("auc_graph", pa.float64()),
        ("auc_token", pa.float64()),
        ("lost_from_class", pa.float64()),  # share of its images in which the label is lost
        ("lost_from_patches", pa.float64()),
    ]
)
"""Columns of ``truth/leakage-concepts.arrow``, from layer 2 on."""

DIRECTION_SCHEMA = pa.schema(
    [
        ("lower", pa.int16()),  # layer l
        ("upper", pa.int16()),  # layer m > l
        ("a_lower", pa.int32()),  # concept A at layer l, and at layer m
        ("a_upper", pa.int32()),
        ("b_lower", pa.int32()),
        ("b_upper", pa.int32()),
        ("association", pa.float64()),  # correlation of the labels of A and B on tune images
        ("a_to_b", pa.float64()),  # A at l taken out: change of B at m, beyond controls
        ("a_to_b_low", pa.float64()),
        ("a_to_b_high", pa.float64()),
        ("b_to_a", pa.float64()),
        ("b_to_a_low", pa.float64()),
        ("b_to_a_high", pa.float64()),
        ("n_images", pa.int32()),
        ("verdict", pa.string()),  # of DIRECTIONS
        ("drawn", pa.string()),  # what the drawing says, of drawn scenes; else empty
    ]
)
"""Columns of ``truth/direction.arrow``."""

A_TO_B, B_TO_A, BOTH_WAYS, NEITHER = DIRECTIONS = ("A → B", "B → A", "both", "neither")

FACTOR_SCHEMA = pa.schema(
    [
        ("layer", pa.int16()),
        ("attribute", pa.string()),  # a factor is one value of an attribute
        ("value", pa.string()),
        ("n_images", pa.int32()),  # held-out images that have it
        ("concept", pa.int32()),  # best for it, chosen on training images
        ("auc", pa.float64()),  # of that concept's coefficient
        ("correlation", pa.float64()),
        ("information", pa.float64()),  # mutual, as a share of the factor's entropy
        ("runner_up", pa.int32()),
        ("runner_up_auc", pa.float64()),
        ("gap", pa.float64()),  # mutual information of the best less that of the second; MIG
        ("predicted", pa.float64()),  # AUC of a sparse logistic model on all concepts
        ("own", pa.bool_()),  # the factor has a concept of its own
    ]
)
"""Columns of ``truth/factors.arrow``; empty where nothing is known of the images."""

FACTOR_LAYER_SCHEMA = pa.schema(
    [
        ("layer", pa.int16()),
        ("mig", pa.float64()),
        ("disentanglement", pa.float64()),
        ("completeness", pa.float64()),
        ("informativeness", pa.float64()),  # mean AUC of the models on all concepts
        ("n_reached", pa.int32()),  # factors of which some concept is a good sign
        ("n_own", pa.int32()),
        ("n_factors", pa.int32()),
    ]
)
"""Columns of ``truth/factor-layers.arrow``, a row for each layer."""

JPEG, NOISE, BLUR, SIGNS, ATTACK = PERTURBATIONS = (
    "JPEG",
    "Gaussian noise",
    "blur",
    "random signs",
    "attack",
)
"""Kinds of change of a picture, with the meaning of their size: quality of a JPEG, 1 to 95;
standard deviation of noise in levels of 255; standard deviation of a blur in pixels; levels by
which every number is moved up or down by chance, and at most by an attack."""

FLIP_SCHEMA = pa.schema(
    [
        ("layer", pa.int16()),
        ("perturbation", pa.string()),  # of PERTURBATIONS
        ("size", pa.float64()),  # quality, standard deviation in levels or pixels, or levels
        ("n_images", pa.int32()),
        ("median", pa.float64()),  # labels of an image that flip, over the images
        ("high", pa.float64()),  # 95 % point
        ("mean", pa.float64()),
        ("most", pa.int32()),
        ("turned_on", pa.float64()),  # mean of those that appear, and of those that vanish
        ("turned_off", pa.float64()),
        ("n_active", pa.float64()),  # mean of those that were there
        ("rms", pa.float64()),  # root mean square change of the picture, in levels of 255
    ]
)
"""Columns of ``truth/flips.arrow``: how many labels flip when a picture is changed. An attack is on
the labels of the row's own layer."""

TABLES: dict[str, dict[str, pa.Schema]] = {
    "rollout": {
        "rollout": ROLLOUT_SCHEMA,
        "decoded": DECODED_SCHEMA,
        "refitted-edges": REFITTED_EDGE_SCHEMA,
        "refitted-concepts": REFITTED_CONCEPT_SCHEMA,
    },
    "references": {"references": REFERENCE_SCHEMA},
    "evidence": {"evidence": EVIDENCE_SCHEMA, "evidence-pairs": EVIDENCE_PAIR_SCHEMA},
    "worth": {"worth": WORTH_SCHEMA},
    "stability": {
        "stable-concepts": STABLE_CONCEPT_SCHEMA,
        "stable-edges": STABLE_EDGE_SCHEMA,
        "stable-layers": STABLE_LAYER_SCHEMA,
    },
    "leakage": {"leakage": LEAKAGE_SCHEMA, "leakage-concepts": LEAKAGE_CONCEPT_SCHEMA},
    "direction": {"direction": DIRECTION_SCHEMA},
    "factors": {"factors": FACTOR_SCHEMA, "factor-layers": FACTOR_LAYER_SCHEMA},
    "flips": {"flips": FLIP_SCHEMA},
}
"""Tables of each measurement, in the order in which `cgraph evaluate` takes them."""


def truth_file(name: str) -> str:
    """Return the place of a table in a study folder."""
    return f"{FOLDER}/{name}.arrow"


def measurement_of(table: str) -> str:
    """Return the measurement that writes a table."""
    return next(name for name, tables in TABLES.items() if table in tables)


def measurement_of_file(path: str) -> str | None:
    """Return the measurement that writes a file of a study; None if none does."""
    files = {truth_file(table): name for name, tables in TABLES.items() for table in tables}
    return files.get(path)
