"""The Graph page: layer pairs, neighbourhoods, paths, and a scratch graph of pinned concepts."""

from cgraph.ui import frame
from cgraph.ui.views import graph

opened = frame.open_page("Graph")
if opened is not None:
    graph.show(opened)
