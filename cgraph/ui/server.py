"""What the server does around the pages: it gets ready, and stands in when a page breaks.

Streamlit loads a page's code when somebody opens the page. Loading all of it as the server starts
adds about half a second to the start, where a terminal is watched, and takes it from the first
page, where a person waits.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
import webbrowser
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath

import streamlit as st
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route
from streamlit.runtime.scriptrunner import get_script_run_ctx

from cgraph.ui.page_list import PAGES

_EVERY_ADDRESS = ("0.0.0.0", "::")  # a server that listens everywhere

# Below the address of a page Streamlit's client looks for its server first, and finds it above
# after a wait and two errors in the console, unless it is told where the server is.
_WHERE = """<script>
  window.__streamlit = { BACKEND_BASE_URL: new URL('.', window.location.href).href };
</script>
"""


def is_answering() -> bool:
    """Tell an answer to a browser from the start of the server: both run ``app.py``."""
    return get_script_run_ctx(suppress_warning=True) is not None


@asynccontextmanager
async def lifespan(app: st.App) -> AsyncIterator[None]:
    """Get ready, then show the app in the browser of who started it."""
    get_ready()
    if not st.get_option("server.headless"):
        webbrowser.open(own_address())
    yield


def own_address() -> str:
    """Return the address under which this machine reaches the app."""
    scheme = "https" if st.get_option("server.sslCertFile") else "http"
    host = st.get_option("server.address")
    if host in (None, "", *_EVERY_ADDRESS):
        host = "localhost"
    path = (st.get_option("server.baseUrlPath") or "").strip("/")
    return f"{scheme}://{host}:{st.get_option('server.port')}/{path}"


def get_ready() -> None:
    """Load the pages, and of the study that is shown first what takes longest.

    Whatever goes wrong here goes wrong again for the page, which has somebody to tell.
    """
    with suppress(Exception), _quiet():
        from cgraph.ui import resources, views
        from cgraph.ui.views import graph

        for module in pkgutil.iter_modules(views.__path__, f"{views.__name__}."):
            importlib.import_module(module.name)
        found = resources.find_studies(resources.search_folders())
        if found.entries:
            first = found.entries[0]
            study = resources.open_study(first)
            graph.study_graph(first).seriation(study.n_layers)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep off the terminal that what is opened here is opened for nobody's page."""
    log = logging.getLogger("streamlit.runtime.scriptrunner_utils.script_run_context")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def routes() -> list[Route]:
    """Return the addresses of the pages, which answer with where the server is."""
    scripts = [PurePosixPath(script) for script, _ in PAGES]
    names = [script.stem.partition("_")[2] for script in scripts if script.parent.name]
    base = (st.get_option("server.baseUrlPath") or "").strip("/")
    return [Route(f"/{base}/{name}".replace("//", "/"), _page_html) for name in names]


@cache
def _html() -> str:
    html = (files("streamlit") / "static" / "index.html").read_text("utf-8")
    return html.replace("<head>", "<head>" + _WHERE, 1)


async def _page_html(request: Request) -> HTMLResponse:
    return HTMLResponse(_html(), headers={"Cache-Control": "no-cache"})


def on_script_error(error: Exception) -> bool:
    """Say that a page broke, in place of a traceback, which goes to the log of the server.

    Parameters
    ----------
    error : Exception
        What the page did not catch.

    Returns
    -------
    bool
        True: it has been told.
    """
    st.error(
        f"This page met a problem that it was not made for ({type(error).__name__}). The study is "
        "as it was. Reload the page, or go back and choose something else; the terminal in which "
        "the app was started says where it broke, which helps whoever mends it."
    )
    return True
