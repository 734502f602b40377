"""Errors meant for people: what was wrong, what is allowed, what to do next.

Every error that a user can cause derives from `CgraphError`; the command line and the app show
its message as it stands and never a traceback. Anything else is a defect of cgraph.

Wrong settings and wrong numbers are also a `ValueError`, which is what scikit-learn and its users
expect of an estimator.
"""

from __future__ import annotations


class CgraphError(Exception):
    """Base of all errors that a user can cause and mend."""


class ConfigError(CgraphError, ValueError):
    """A setting that is out of range, or two settings that contradict each other."""


class ImageError(CgraphError):
    """An image, or a set of images, that cannot be read."""


class ModelError(CgraphError):
    """A model folder that cannot be loaded, or is not a vision transformer that cgraph knows."""


class StudyError(CgraphError):
    """A study folder that is missing, incomplete, altered, locked or of another schema."""


class DataError(CgraphError, ValueError):
    """Numbers that no method can work with: empty, constant, not finite, or of the wrong shape."""


class ClusterError(CgraphError):
    """Workers that cannot be reached, were lost, or do not fit together."""


class FetchError(CgraphError):
    """The net, or the cache of what comes from it, cannot be used at all."""
