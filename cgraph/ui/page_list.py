"""The pages of the app. Imported before the server runs, so nothing of Streamlit is needed."""

PAGES = (
    ("app.py", "Trace"),
    ("pages/1_Graph.py", "Graph"),
    ("pages/2_Evaluation.py", "Evaluation"),
    ("pages/3_Counterfactual.py", "Counterfactual"),
    ("pages/4_Concepts.py", "Concepts"),
    ("pages/5_Policies.py", "Policies"),
    ("pages/6_Build.py", "Build"),
)
"""Scripts of the pages, beside the main script, and their names. Links lead to those that exist."""
