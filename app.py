"""The first page of the app, Trace: one image and the concepts that it activates.

Start it with ``streamlit run app.py``.
"""

from cgraph.ui import frame
from cgraph.ui.views import trace

opened = frame.open_page("Trace")
if opened is not None:
    trace.show(opened)
