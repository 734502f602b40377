"""What the server does around the pages: it gets ready before it answers the first visit.

Streamlit loads a page's code when somebody opens the page. Loading all of it as the server starts
adds about half a second to the start, where a terminal is watched, and takes it from the first
page, where a person waits.
"""

from __future__ import annotations

import importlib
import pkgutil
import webbrowser
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx


def is_answering() -> bool:
    """Tell an answer to a browser from the start of the server: both run ``app.py``."""
    return get_script_run_ctx(suppress_warning=True) is not None


@asynccontextmanager
async def lifespan(app: st.App) -> AsyncIterator[None]:
    """Get ready, then show the app in the browser of who started it."""
    get_ready()
    if not st.get_option("server.headless"):
        address, port = st.get_option("server.address"), st.get_option("server.port")
        webbrowser.open(f"http://{address or 'localhost'}:{port}")
    yield


def get_ready() -> None:
    """Load the pages and open the study that is shown first.

    Whatever goes wrong here goes wrong again for the page, which has somebody to tell.
    """
    with suppress(Exception):
        from cgraph.ui import resources, views
        from cgraph.ui.views import graph, trace  # noqa: F401  # the pages to which links lead most

        found = resources.find_studies(resources.search_folders())
        if found.entries:
            study = resources.open_study(found.entries[0])
            graph.study_graph(found.entries[0]).seriation(study.n_layers)
        for module in pkgutil.iter_modules(views.__path__, f"{views.__name__}."):
            importlib.import_module(module.name)
