"""The time that a rule may take: looked at between steps, since no step is ever cut off."""

from __future__ import annotations

import time

from cgraph.errors import CgraphError


class TimeOut(CgraphError):
    """A rule took longer than it may."""


class Clock:
    """Counts the seconds of one rule.

    Parameters
    ----------
    limit : float
        Seconds that it may take.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    @property
    def left(self) -> float:
        """Seconds that are left, at least 0."""
        return max(0.0, self.limit - self.seconds)

    def check(self) -> None:
        """Stop the rule if its time is over.

        Raises
        ------
        TimeOut
        """
        if self.seconds > self.limit:
            raise TimeOut(
                f"It was not done after {self.limit:g} seconds. Raise time_limit of the rule, or "
                "ask for less: fewer images, smaller sets, fewer draws."
            )
