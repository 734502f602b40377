"""Errors meant for people: what was wrong, what is allowed, what to do next.

Every error that a user can cause derives from `CgraphError`; the command line and the app show
its message as it stands and never a traceback. Anything else is a defect of cgraph.

Wrong settings and wrong numbers are also a `ValueError`, which is what scikit-learn and its users
expect of an estimator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


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


@dataclass(frozen=True)
class Problem:
    """One mistake in a file that somebody wrote.

    Attributes
    ----------
    line : int
        From 1; 0 where it is of the file as a whole.
    message : str
        What is wrong, what is allowed, what to do next.
    """

    line: int
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}" if self.line else self.message


class PolicyError(ConfigError):
    """A policy that means nothing, or nothing in this study; says all that is wrong with it.

    Attributes
    ----------
    problems : tuple of Problem
        In the order of their lines.
    """

    def __init__(self, where: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        count = "a mistake" if len(self.problems) == 1 else f"{len(self.problems)} mistakes"
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{where} has {count}:\n{lines}")
