"""The Policies page: rules that the graph keeps or breaks, and how few flips change a concept."""

from cgraph.ui import frame
from cgraph.ui.views import policies

opened = frame.open_page("Policies")
if opened is not None:
    policies.show(opened)
