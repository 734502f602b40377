"""The app: ``streamlit run app.py``. Its first page, Trace: one image and its concepts."""

import streamlit as st

from cgraph.ui import server

if server.is_answering():
    from cgraph.ui import frame
    from cgraph.ui.views import trace

    opened = frame.open_page("Trace")
    if opened is not None:
        trace.show(opened)
else:
    app = st.App(
        __file__,
        lifespan=server.lifespan,
        routes=server.routes(),
        on_script_error=server.on_script_error,
    )
