"""The tables of docs/models.md, made from small models: ``python tests/model_table.py`` writes it.

What a row says is what `VisionModel` finds in a model of the family, and what the tests compare.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from vision_models import ALL_FAMILIES, OTHER_FAMILIES, PREPROCESSORS, Family, build, save

from cgraph.errors import CgraphError
from cgraph.model_inputs import EXCEPTIONS
from cgraph.model_structure import CLASS_TOKEN_NAMES
from cgraph.vit import TOKENS, VisionModel

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
UNSUPPORTED = ("swin", "convnext", "resnet", "sam", "bert")
_FAMILY_HEAD = (
    "family", "class in transformers", "class token", "tokens before the patches", "`token` may be",
    "pictures are prepared as by", "head for classes", "equal to the model's own",
)  # fmt: skip


def family_row(family: Family, folder: Path) -> list[str]:
    """Describe a family by what is found in a small model of it."""
    save(build(family.kind), folder, family.kind)
    model = VisionModel.load(folder)
    parts = model._structure
    names = [
        name
        for name, _ in model.network.named_parameters()
        if name.rpartition(".")[2] in CLASS_TOKEN_NAMES
    ]
    found = "none"
    if parts.class_rows:
        found = f"`{names[0]}`, row {', '.join(map(str, parts.class_rows))}"
    kinds = []
    for token in TOKENS:
        try:
            VisionModel.load(folder, token=token)  # type: ignore[arg-type]
            kinds.append(f"`{token}`")
        except CgraphError:
            pass
    kinds.sort(key=lambda kind: TOKENS[kind.strip("`")] != model.token)
    processor = PREPROCESSORS.get(family.kind.partition("-")[0], PREPROCESSORS["vit"])
    head = f"`{type(build(family.classifier)).__name__}`" if family.classifier else "none"
    equal = ["tokens of every layer", "blocks after a layer, as it was and edited"]
    equal += ["pooled tokens"] if family.pooled else []
    equal += ["classes, plain and edited"] if family.classifier else []
    equal += ["likeness to texts"] if family.texts else []
    return [
        family.title,
        f"`{type(build(family.kind)).__name__}`",
        found,
        str(parts.patch_rows.start),
        ", ".join(kinds),
        f"`{processor['image_processor_type']}`",
        head,
        "; ".join(equal),
    ]


def refusal(kind: str, folder: Path) -> str:
    """Return what is said of a model that is not supported."""
    try:
        VisionModel.load(save(build(kind), folder, "vit"))
    except CgraphError as error:
        return str(error).replace(str(folder), "FOLDER")
    raise AssertionError(f"{kind} is supported")


def table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [list(head), ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def parts_of_page() -> dict[str, str]:
    """Return the parts of the page that are made here, by their names."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        rows = [family_row(family, root / family.kind) for family in ALL_FAMILIES]
        others = [family_row(family, root / family.kind) for family in OTHER_FAMILIES]
        refusals = [f"> {refusal(kind, root / kind)}" for kind in UNSUPPORTED]
    exceptions = [[e.families, e.recognised_by, e.treatment, e.reason] for e in EXCEPTIONS]
    return {
        "families": table(_FAMILY_HEAD, rows),
        "others": table(_FAMILY_HEAD, others),
        "exceptions": table(("where", "recognised by", "what is done", "why"), exceptions),
        "refusals": "\n>\n".join(refusals),
    }


def with_parts(page: str, parts: dict[str, str]) -> str:
    """Return the page with its parts in place of those between its marks."""
    for name, text in parts.items():
        before, _, rest = page.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- end of {name} -->")
        if not end:
            raise AssertionError(f"docs/models.md has no part {name!r}")
        page = f"{before}<!-- {name} -->\n{text}\n{end}{after}"
    return page


if __name__ == "__main__":
    PAGE.write_text(with_parts(PAGE.read_text(encoding="utf-8"), parts_of_page()), encoding="utf-8")
