"""What a model says in the end, before and after an edit: classes of its head, or texts it is like.

The study needs the vision part of a model only. If its folder holds more, a head for classes or a
text tower, the whole model is loaded here and run with the same additions to the same tokens as in
`cgraph.intervention`, so that the change of the output is measured, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cgraph.checkpoint import CONFIG_NAME, first_line, quiet_transformers, read_json
from cgraph.errors import ConfigError, ModelError
from cgraph.model_inputs import knows, names_of_text_inputs, network_inputs, padding_of_texts
from cgraph.model_structure import hooked, skipped
from cgraph.vit import VisionModel

if TYPE_CHECKING:
    import torch

CLASSES, TEXTS = "classes", "texts"
"""Kinds of output: probabilities of classes, or likeness to typed texts."""

_TOKENS_AT_ONCE = 2**24
"""Numbers of tokens, patches included, that lie in memory at once, for some 64 of them an image."""

_FEW = 8
"""Images in which it is tried whether an output depends on patch tokens."""

MOST_TEXTS = 24
LONGEST_TEXT = 300


class Output:
    """The whole model behind a `VisionModel`; make one with `load_output`.

    Attributes
    ----------
    kind : {"classes", "texts"}
    class_names : tuple of str
        Names of the classes; empty for texts.
    """

    def __init__(self, vision: VisionModel, network: Any, kind: str) -> None:
        self.kind = kind
        self._vision = vision
        self._network = network
        self._blocks = _same_blocks(vision, network)
        self.class_names: tuple[str, ...] = ()
        if kind == CLASSES:
            names = network.config.id2label
            self.class_names = tuple(_short(str(names[n])) for n in sorted(names))

    def scores(
        self,
        pixels: np.ndarray,
        added: Mapping[int, np.ndarray] | None = None,
        texts: Sequence[str] = (),
    ) -> np.ndarray:
        """Return what the model says of images.

        Parameters
        ----------
        pixels : ndarray of float32, shape (n, 3, height, width)
        added : mapping of int to ndarray, shape (n, d_model), optional
            What is added to the tokens after some layers; `NetworkRun.added`.
        texts : sequence of str
            For the kind ``texts``; not read otherwise.

        Returns
        -------
        ndarray of float32, shape (n, n_classes) or (n, n_texts)
            Probabilities that add up to 1, or cosines from -1 to 1.

        Raises
        ------
        ConfigError
            If there are too many texts, or one is empty or too long.
        """
        import torch

        added = added or {}

        def note(index: int, output: torch.Tensor) -> torch.Tensor | None:
            if index + 1 not in added:
                return None
            return self._vision.add_to_tokens(output, added[index + 1])

        values = torch.tensor(pixels, device=self._vision.device)
        with torch.inference_mode():
            if self.kind == CLASSES:
                with hooked(self._blocks, note):
                    logits = self._network(**network_inputs(self._network, values)).logits
                return logits.softmax(dim=-1).float().cpu().numpy()
            of_texts = self._text_embeddings(texts)
            with hooked(self._blocks, note):
                inputs = network_inputs(self._network.vision_model, values)
                pooled = self._network.vision_model(**inputs).pooler_output
            projection = getattr(self._network, "visual_projection", None)
            of_images = pooled if projection is None else projection(pooled)
            likeness = torch.nn.functional.normalize(of_images, dim=-1) @ of_texts.T
        return likeness.float().cpu().numpy()

    def of_last_tokens(self, tokens: np.ndarray, pixels: np.ndarray) -> np.ndarray | None:
        """Return what the model makes of tokens of the last layer, without running its blocks.

        Only the class token is put in place, with nothing in the places of the patches. So it is
        first seen whether what comes after the last block reads them.

        Parameters
        ----------
        tokens : ndarray of float32, shape (n, d_model)
            Class tokens of layer L.
        pixels : ndarray of float32, shape (1, *pixel_shape)
            Any image, prepared: of it the network takes the number of its tokens only.

        Returns
        -------
        ndarray of float32, shape (n, n_classes) or (n, n_dimensions), or None
            Logits, or embeddings of length 1 to be compared with those of texts; None if no class
            token is read, or what follows the last block reads the patch tokens too.
        """
        if not self._vision.reads_class_token:
            return None
        nothing = np.zeros(tokens.shape[1], dtype=np.float32)
        found = self._after_blocks(tokens, pixels, nothing)
        few = tokens[:_FEW]
        noise = np.random.default_rng(0).standard_normal(tokens.shape[1], dtype=np.float32)
        other = self._after_blocks(few, pixels, noise * few.std())
        if not np.allclose(found[:_FEW], other, rtol=1e-3, atol=1e-4):
            return None
        return found

    def _after_blocks(
        self, tokens: np.ndarray, pixels: np.ndarray, other: np.ndarray
    ) -> np.ndarray:
        """Run what follows the blocks on class tokens, with one vector as every other token."""
        import torch

        given = torch.as_tensor(tokens, device=self._vision.device)
        n_rows = max(1, _TOKENS_AT_ONCE // max(1, tokens.shape[1]) // 64)
        found = []
        with torch.inference_mode(), skipped(self._blocks) as place:
            for first in range(0, len(given), n_rows):
                part = given[first : first + n_rows]

                def last(hidden: torch.Tensor, part: torch.Tensor = part) -> torch.Tensor:
                    row = torch.as_tensor(other, dtype=hidden.dtype, device=hidden.device)
                    whole = row.expand(len(part), *hidden.shape[1:])
                    return self._vision.with_class_token(whole, part.to(hidden.dtype))

                place(last)
                values = torch.tensor(pixels, device=self._vision.device)
                if self.kind == CLASSES:
                    inputs = network_inputs(self._network, values)
                    found.append(self._network(**inputs).logits)
                    continue
                inputs = network_inputs(self._network.vision_model, values)
                pooled = self._network.vision_model(**inputs).pooler_output
                projection = getattr(self._network, "visual_projection", None)
                of_images = pooled if projection is None else projection(pooled)
                found.append(torch.nn.functional.normalize(of_images, dim=-1))
        return torch.cat(found).float().cpu().numpy()

    def _text_embeddings(self, texts: Sequence[str]) -> torch.Tensor:
        import torch

        check_texts(texts)
        tokenizer = self._tokenizer()
        config = self._network.config
        tokens = tokenizer(
            [text.strip() for text in texts], return_tensors="pt", **padding_of_texts(config)
        )
        names = names_of_text_inputs(config)
        kept = {name: tokens[name].to(self._vision.device) for name in names if name in tokens}
        pooled = self._network.text_model(**kept).pooler_output
        projection = getattr(self._network, "text_projection", None)
        return torch.nn.functional.normalize(
            pooled if projection is None else projection(pooled), dim=-1
        )

    def knows(self, text: str) -> bool:
        """Return whether the tokenizer has every word of a text, and the text is not empty."""
        return knows(self._tokenizer(), text)

    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        if not hasattr(self, "_kept_tokenizer"):
            try:
                with quiet_transformers():
                    self._kept_tokenizer = AutoTokenizer.from_pretrained(
                        str(self._vision.path), local_files_only=True, trust_remote_code=False
                    )
            except Exception as error:  # transformers reports by many kinds of exception
                raise ModelError(
                    f"{self._vision.path} has a text tower and no tokenizer that can be read: "
                    f"{first_line(error)}"
                ) from error
        return self._kept_tokenizer


def kind_of_output(vision: VisionModel) -> str | None:
    """Return which kind of output a model's folder holds besides the vision part, if any."""
    if "ForImageClassification" in vision.architecture:
        return CLASSES
    if "text_config" in read_json(vision.path / CONFIG_NAME):
        return TEXTS
    return None


def load_output(vision: VisionModel) -> Output | None:
    """Load the whole model that a vision part belongs to.

    Returns
    -------
    Output or None
        None if the folder holds neither a head for classes nor a text tower.

    Raises
    ------
    ModelError
        If it cannot be loaded, or parts of it would be random.
    """
    kind = kind_of_output(vision)
    if kind is None:
        return None
    import torch
    import transformers

    cls = getattr(transformers, vision.architecture, None)
    if cls is None:
        raise ModelError(f"transformers does not know {vision.architecture!r}.")
    try:
        with torch.random.fork_rng(devices=[]), quiet_transformers():
            network, report = cls.from_pretrained(
                str(vision.path),
                dtype=getattr(torch, vision.precision),
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # transformers reports by many kinds of exception
        raise ModelError(
            f"The whole model in {vision.path} cannot be loaded: {first_line(error)}"
        ) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{vision.path} has no weights for {missing[0]}; its output would be random."
        )
    return Output(vision, network.to(vision.device).eval().requires_grad_(False), kind)


def _same_blocks(vision: VisionModel, network: torch.nn.Module) -> torch.nn.ModuleList:
    """Find the blocks of the vision part in the whole model, by their weights."""
    import torch

    wanted = [weight.shape for weight in vision.blocks.parameters()]
    for blocks in network.modules():
        if not isinstance(blocks, torch.nn.ModuleList) or len(blocks) != vision.n_layers:
            continue
        found = list(blocks.parameters())
        if [weight.shape for weight in found] == wanted and all(
            map(torch.equal, found, vision.blocks.parameters())
        ):
            return blocks
    raise ModelError(f"The blocks of {vision.path} were not found in its whole model.")


def check_texts(texts: Sequence[str]) -> None:
    """Refuse texts that cannot be compared with images.

    Raises
    ------
    ConfigError
        If there are too many texts, or one is empty or too long.
    """
    if not 1 <= len(texts) <= MOST_TEXTS:
        raise ConfigError(f"{len(texts)} texts were given: 1 to {MOST_TEXTS} can be compared.")
    for text in texts:
        if not text.strip() or len(text) > LONGEST_TEXT:
            raise ConfigError(
                f"A text has {len(text)} characters: 1 to {LONGEST_TEXT} are allowed."
            )


def _short(label: str) -> str:
    """Return the first name of a class, without its WordNet number."""
    first = label.partition(",")[0].strip()
    number, _, rest = first.partition(" ")
    if rest and len(number) == 9 and number[0] == "n" and number[1:].isdigit():
        return rest
    return first
