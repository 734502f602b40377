"""Figures as plain data, made without Streamlit; `cgraph.ui.components.figure` shows them."""
