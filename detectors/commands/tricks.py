"""Try every trick with every family, and write which serves which."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig
from rich.progress import track

from detectors.config.overrides import SERVED
from detectors.config.paths import CONF
from detectors.engine.build import configured
from detectors.engine.console import console
from detectors.engine.run_folder import write_json
from detectors.engine.trainer import assemble
from detectors.structures import Targets

SMALL = ["size=small", "device=cpu", "precision=32-true", "run_dir=.", "data.num_workers=0"]
Reasons = dict[str, dict[str, str]]  # by trick and family; "" where it works

INTRODUCTION = """\
# Tricks

Which trick serves which family, at its small size and otherwise as `model=NAME` has it. Written
by `detectors tricks`, which tries each cell: it composes, builds the detector, its data and its
optimiser, and takes the loss and the detections of two pictures. Each file `conf/trick/NAME.yaml`
says what the trick is, where its numbers come from and what was published about it. Words beside a
trick are those without which it means nothing with any family.

Assigners are words of their own: `assigner=atss`, `sim_ota` and `paa` serve every family. They
assign the proposals of Faster R-CNN, whose scores the latter two have to be told.
"""


def main(cfg: DictConfig) -> None:
    """Try all cells, with a progress bar; write the page and what `trick=...` looks up."""
    tricks = sorted(path.stem for path in (CONF / "trick").glob("*.yaml"))
    cells = [(trick, family) for trick in tricks for family in cfg.families]
    tried = track(cells, "tricks:", console=console())
    reasons: Reasons = {trick: {} for trick in tricks}
    for trick, family in tried:
        reasons[trick][family] = refusal(trick, family, cfg.beside.get(trick, ()))
    page = Path(cfg.page)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render(reasons, cfg.families, cfg.beside), encoding="utf-8")
    write_json(SERVED, served(reasons))
    print(f"{page} and {SERVED}")


def refusal(trick: str, family: str, beside: Sequence[str] = ()) -> str:
    """Why the trick, with some words beside it, does not serve the family; "" if it does."""
    words = [f"model={family}", f"trick=[{trick}]", *SMALL, *beside]
    try:
        _attempt(configured(words))
    except ValueError as error:
        return " ".join(str(error).split()).partition(" It serves: ")[0]
    return ""


def _attempt(cfg: DictConfig) -> None:
    """Make what the config describes, and a loss and detections of two pictures."""
    module = assemble(cfg)[0]
    detector = module.detector
    images = torch.randint(0, 256, (2, 3, cfg.image_size, cfg.image_size), dtype=torch.uint8)
    boxes = torch.tensor([[8.0, 8.0, 40.0, 48.0], [30.0, 20.0, 90.0, 80.0]]).expand(2, 2, 4)
    yes = torch.ones(2, 2, dtype=torch.bool)
    with torch.no_grad():
        detector.loss(images, Targets(boxes, torch.zeros(2, 2).long(), yes, ~yes))
        frames = torch.tensor([0.0, 0.0, cfg.image_size, cfg.image_size]).expand(2, 4)
        asked = detector if module.tta is None else module.tta(detector)
        asked.eval()(images, frames)


def served(reasons: Reasons) -> dict[str, list[str]]:
    """Families by trick."""
    return {
        trick: [family for family, reason in row.items() if not reason]
        for trick, row in reasons.items()
    }


def render(reasons: Reasons, families: Sequence[str], beside: Mapping[str, Sequence[str]]) -> str:
    """The page: a grid, then the reasons of the cells that are refused."""
    rows = [
        _row([_named(trick, beside), *("no" if row[family] else "yes" for family in families)])
        for trick, row in reasons.items()
    ]
    grid = [_row(["trick", *families]), _row(["---"] * (1 + len(families))), *rows]
    told = [line for trick, row in reasons.items() for line in _told(trick, row)]
    made_from = f"Made from the configs of digest `{digest()}`."
    return "\n".join([INTRODUCTION, *grid, "", "## Why not", "", *told, "", made_from, ""])


def digest() -> str:
    """Of all configs that decide about a cell: recipes do not."""
    files = sorted(path for path in CONF.glob("**/*.yaml") if path.parent.name != "experiment")
    contents = "".join(f"{f.relative_to(CONF)}\n{f.read_text(encoding='utf-8')}" for f in files)
    return hashlib.sha256(contents.encode()).hexdigest()[:16]


def _told(trick: str, row: dict[str, str]) -> Iterable[str]:
    """One line for each reason, with the families that share it."""
    for reason in dict.fromkeys(filter(None, row.values())):
        families = ", ".join(family for family, other in row.items() if other == reason)
        yield f"- `{trick}`, {families}: {reason}"


def _named(trick: str, beside: Mapping[str, Sequence[str]]) -> str:
    words = ", ".join(f"`{word}`" for word in beside.get(trick, ()))
    return f"`{trick}`, {words}" if words else f"`{trick}`"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
