"""Concept graphs of vision transformers: which concepts a model sees, and how they lead to others.

The files of this package are the steps of one pipeline. Images (`images`) pass through a vision
transformer (`vit`), which gives one class token per layer. A dictionary per layer (`dictionary`),
fitted as a sparse autoencoder (`sae`) or by K-SVD (`ksvd`, with orthogonal matching pursuit in
`pursuit`), turns every token into a sparse code (`codes`), and a nonzero coefficient is the label
of a concept. A sparse logistic model (`logistic`) predicts each concept from the labels of the
layer before (`predictor`); its nonzero weights are the edges of the graph (`graph`). `evaluation`
measures on images that took part in no fit, `study` keeps everything in one folder, `trace`
follows one image through the graph, and `pipeline` runs the `stages` in this order. The command
line (`cli`) and the app (`ui`) stand on top. The dictionaries and, for a single target, the
predictor (`balanced_logistic`) are scikit-learn estimators.

Importing the package loads nothing else; import the file you need.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("cgraph")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
