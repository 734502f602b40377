"""The Evaluation page: how well concepts are predicted, on images that took part in no fit."""

from cgraph.ui import frame
from cgraph.ui.views import evaluation

opened = frame.open_page("Evaluation")
if opened is not None:
    evaluation.show(opened)
