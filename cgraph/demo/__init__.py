"""The bundled studies: a small CLIP trained on drawn scenes, and what cgraph finds in it.

`clip` says what the model is, `lesson` what it is taught, `scene_pool` draws what it learns from,
`training` and `workers` train it, `quality` measures it on scenes it has never seen, and `remake`
does all of this in one command. `audit` makes two more studies, whose models learn one word more,
and `harm` measures how they use it.
"""
