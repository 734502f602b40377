"""The Build page: a new study from the user's own model and images, as a job of its own."""

from cgraph.ui import frame
from cgraph.ui.views import build

frame.open_head("Build")
build.show()
