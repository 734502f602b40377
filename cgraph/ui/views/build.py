"""The Build page: a new study from somebody's own model and images, and the builds there are."""

from __future__ import annotations

import streamlit as st

from cgraph.job_status import list_jobs
from cgraph.ui import resources
from cgraph.ui.views import build_form, build_jobs


def show() -> None:
    """Draw the page; it needs no study."""
    folders = resources.search_folders()
    jobs = list_jobs(folders)
    with st.container(key="cg-build-head"):
        st.html("<h2 class='cg-title'>Build a study</h2>")
        st.html(
            "<p class='cg-sentence'>Choose a vision transformer and a set of images. cgraph reads "
            "the model's class token at every layer (of a model without one, the mean of its "
            "patches), learns concepts, and finds how they lead to one another. The build runs by "
            "itself: you may close this page, and come back to it.</p>"
        )
    build_jobs.show(jobs)
    build_form.show(resources.studies(folders), jobs)
