"""The Trace page without a browser: running it, and reading what it shows."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

from PIL import Image
from streamlit.testing.v1 import AppTest

APP = Path(__file__).parents[1] / "app.py"


def run(**query: str) -> AppTest:
    """Run the page with a query; it must not raise."""
    app = AppTest.from_file(str(APP), default_timeout=30)
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception
    return app


def run_page(script: str, **query: str) -> AppTest:
    """Run another page than the first with a query; it must not raise."""
    app = AppTest.from_file(str(APP), default_timeout=30).switch_page(script)
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception
    return app


def html(app: AppTest) -> str:
    """Return all HTML and Markdown of the page."""
    found = [element.proto.body for element in app.get("html")]
    return "\n".join([*found, *(element.value for element in app.markdown)])


def text(app: AppTest) -> str:
    """Return `html` with words of the glossary as they stand, without their meanings."""
    bare = re.sub(r"<span class='cg-meaning'[^>]*>[^<]*</span>", "", html(app))
    return re.sub(r"<span class='cg-term'[^>]*>([^<]*)</span>", r"\1", bare)


def payloads(app: AppTest, name: str) -> list[dict[str, Any]]:
    """Return what every component of a name was sent, in the order of the page."""
    protos = [element.proto for element in app.get("bidi_component")]
    return [json.loads(p.mixed.json or p.json) for p in protos if p.component_name == name]


def grid(app: AppTest, label: str) -> dict[str, Any]:
    """Return the picture grid whose label begins so."""
    grids = payloads(app, "cgraph_image_grid")
    return next(found for found in grids if found["label"].startswith(label))


def concept_list(app: AppTest, label: str) -> dict[str, Any]:
    """Return the list of concepts whose label begins so."""
    lists = payloads(app, "cgraph_concept_list")
    return next(found for found in lists if found["label"].startswith(label))


def selected(app: AppTest) -> str:
    """Return what is selected in the graph."""
    return payloads(app, "cgraph_trace_selection")[0]["selected"]


def jpeg(colour: tuple[int, int, int] = (200, 40, 40), side: int = 40) -> bytes:
    """Return a JPEG file of one colour, half as high again as it is wide."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side * 3 // 2), colour).save(buffer, "JPEG")
    return buffer.getvalue()


def click(app: AppTest, label: str) -> AppTest:
    """Click the button of that label."""
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception
    return app
