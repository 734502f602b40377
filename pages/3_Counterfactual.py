"""The Counterfactual page: switch concepts by hand and see what follows.

In the graph, in the real network, and, of drawn scenes, in the picture drawn again.
"""

from cgraph.ui import frame
from cgraph.ui.views import counterfactual

opened = frame.open_page("Counterfactual")
if opened is not None:
    counterfactual.show(opened)
