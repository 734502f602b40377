"""The app: pages that compose, views that draw, and the only files that know Streamlit.

`frame` is drawn first on every page, `state` keeps the selection in the link, `resources` holds
what is opened once for everybody, `components` are the parts with JavaScript of their own, and
`views` put a page together.
"""
