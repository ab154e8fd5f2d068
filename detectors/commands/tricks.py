"""Try every trick with every family, and write which serves which."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from omegaconf import DictConfig, OmegaConf

from detectors.callbacks.progress import tracked
from detectors.config.overrides import GRID_PAGE
from detectors.config.paths import CONF, key
from detectors.config.words import words_of_job
from detectors.engine.build import configured
from detectors.engine.trainer import assemble
from detectors.module import LitDetector
from detectors.postprocess import Suppression
from detectors.structures import Targets

ASKED: set[str] = set()  # models that have answered in this process
SIDE, REGIONS = 128, 50  # pixels and proposals are as good as more to see whether a model answers
SMALL = ["size=small", "device=cpu", "precision=32-true", "run_dir=.", "data.num_workers=0"]

INTRODUCTION = """\
# Tricks

This page says which trick works with which family, at `size=small` and otherwise with the settings
of `model=NAME`. `detectors tricks` writes it and tries each cell: it composes the config, builds
the detector, its data and its optimiser, and computes the loss and the detections of two pictures.
Each file `conf/trick/NAME.yaml` says what the trick is, where its numbers come from and what gain
was published. The words beside a trick are needed with every family.

Assigners have a group of their own: `assigner=atss`, `sim_ota`, `ota` and `paa` work with every
family. Where a second stage follows they assign the proposals; in Faster R-CNN, Cascade R-CNN and
IoU-Net the last three then need `part.assigner.score`.
"""


class Row(NamedTuple):
    """All that is known about one trick; a file of the grid."""

    beside: list[str]  # words without which it means nothing with any family
    short: list[str]  # words with which it shows in runs of seconds, for tests
    families: dict[str, str]  # why it does not serve a family, "" where it does


def main(cfg: DictConfig) -> None:
    """Try the cells that are asked for, with a progress bar; write their files, then the page."""
    folder, page = Path(cfg.grid), Path(cfg.page)
    folder.mkdir(parents=True, exist_ok=True)
    search = [word for word in words_of_job() if word.startswith("hydra.searchpath=")]
    tricks = names() if cfg.tricks is None else list(cfg.tricks)
    for trick in tracked(tricks, "tricks"):
        row = read_row(folder, trick)
        words = [*search, *row.beside]
        found = {family: refusal(trick, family, words) for family in cfg.families}
        write_row(folder, trick, row._replace(families={**row.families, **found}))
    page.parent.mkdir(parents=True, exist_ok=True)
    rows = {file.stem: read_row(folder, file.stem) for file in sorted(folder.glob("*.yaml"))}
    page.write_text(render(rows), encoding="utf-8")
    print(f"{page} and {len(tricks)} files in {folder}")


def names() -> list[str]:
    """All tricks of ours."""
    return sorted(path.stem for path in (CONF / "trick").glob("*.yaml"))


def read_row(folder: Path, trick: str) -> Row:
    """The row of a trick; an empty one where it was never tried."""
    file = folder / f"{trick}.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return Row(content.get("beside", []), content.get("short", []), content.get("families", {}))


def write_row(folder: Path, trick: str, row: Row) -> None:
    """A file of its own, so that two new tricks never meet in one."""
    content = {key: value for key, value in row._asdict().items() if value}
    text = yaml.safe_dump(content, sort_keys=False, width=10_000, allow_unicode=True)
    (folder / f"{trick}.yaml").write_text(text, encoding="utf-8")


def refusal(trick: str, family: str, beside: Sequence[str] = ()) -> str:
    """Why the trick, with some words beside it, does not serve the family; "" if it does."""
    words = [f"model={family}", f"trick=[{trick}]", *SMALL, *beside]
    said = {key(word): word for word in words}  # `beside` may name the trick with others
    try:
        _attempt(configured(list(said.values())))
    except ValueError as error:
        return " ".join(str(error).replace(GRID_PAGE, "").split())
    return ""


def _attempt(cfg: DictConfig) -> None:
    """Make what the config describes, and ask its model, where none alike has answered."""
    module = assemble(cfg)[0]
    model = repr([_plain(cfg[key]) for key in ("model", "tta")])
    if model not in ASKED:
        _ask(module)
        ASKED.add(model)


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _ask(module: LitDetector) -> None:
    """Compute a loss and detections of two small pictures, of few regions if it has two stages."""
    detector = module.detector
    height, width = detector.head.only_canvas or (SIDE, SIDE)
    for part in detector.modules():
        if isinstance(part, Suppression):
            part.per_level, part.detections = REGIONS, REGIONS
    images = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8)
    boxes = torch.tensor([[8.0, 8.0, 40.0, 48.0], [30.0, 20.0, 90.0, 80.0]]).expand(2, 2, 4)
    yes = torch.ones(2, 2, dtype=torch.bool)
    with torch.no_grad():
        detector.loss(images, Targets(boxes, torch.zeros(2, 2).long(), yes, ~yes))
        frames = torch.tensor([0.0, 0.0, width, height]).expand(2, 4)
        asked = detector if module.tta is None else module.tta(detector)
        asked.eval()(images, frames)


def render(rows: Mapping[str, Row]) -> str:
    """The page: a grid, then the reasons of the cells that are refused."""
    families = list(dict.fromkeys(family for row in rows.values() for family in row.families))
    lines = [_row([_named(trick, row), *_cells(row, families)]) for trick, row in rows.items()]
    grid = [_row(["trick", *families]), _row(["---"] * (1 + len(families))), *lines]
    told = [line for trick, row in rows.items() for line in _told(trick, row)]
    return "\n".join([INTRODUCTION, *grid, "", "## Why not", "", *told, ""])


def _cells(row: Row, families: Sequence[str]) -> list[str]:
    answers = {None: "not tried", "": "yes"}
    return [answers.get(row.families.get(family), "no") for family in families]


def _told(trick: str, row: Row) -> Iterable[str]:
    """One line for each reason, with the families that share it."""
    for reason in dict.fromkeys(filter(None, row.families.values())):
        families = ", ".join(family for family, other in row.families.items() if other == reason)
        yield f"- `{trick}`, {families}: {reason}"


def _named(trick: str, row: Row) -> str:
    return ", ".join(f"`{word}`" for word in (trick, *row.beside))


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
