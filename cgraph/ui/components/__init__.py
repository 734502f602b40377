"""Parts of the app that run JavaScript in the browser: plain SVG and HTML, no build step.

Each component is a Python file that turns plain values into one payload, and a script and a style
sheet of the same name in ``ui/static``. Scripts write text with ``textContent`` only.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files


@cache
def static_text(name: str) -> str:
    """Return the text of a file of ``cgraph/ui/static``."""
    return files("cgraph.ui").joinpath("static", name).read_text(encoding="utf-8")


def revision_of(*parts: str) -> str:
    """Return a short text that changes when, and only when, one of the parts does.

    A script draws anew only when the revision of its payload changes, so that what somebody is
    pointing at or has scrolled to stays as it is.
    """
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
