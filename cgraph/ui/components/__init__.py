"""Parts of the app that run JavaScript in the browser: plain SVG and HTML, no build step.

Each component is a Python file that turns plain values into one payload, and a script and a style
sheet of the same name in ``ui/static``. Scripts write text with ``textContent`` only.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def static_text(name: str) -> str:
    """Return the text of a file of ``cgraph/ui/static``."""
    return files("cgraph.ui").joinpath("static", name).read_text(encoding="utf-8")
