"""The Concepts page: every concept of a layer as cards, and one of them in full."""

from cgraph.ui import frame
from cgraph.ui.views import concepts

opened = frame.open_page("Concepts")
if opened is not None:
    concepts.show(opened)
