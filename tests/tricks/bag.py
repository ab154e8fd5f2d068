"""Small runs of a family with and without tricks, and what each of them shows."""

import re
import zlib
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from detectors.commands.tricks import Row, names, read_row
from detectors.config.compose import compose
from detectors.config.instantiate import instantiate
from detectors.config.paths import CONF
from detectors.engine.anchors import with_anchors
from detectors.engine.trainer import assemble
from detectors.layers.progress import tell, tell_counts
from detectors.structures import Batch, Candidates, Progress

GRID = Path(__file__).parent / "grid"  # by `detectors tricks`
TRICKS = names()
FAMILIES: list[str] = list(compose([], "tricks").families)
SIDE = {"yolov1": 256, "ssd300": 300}  # pixels; the others make do with 64
TWO_STAGES = {  # where their two stages are
    "faster_rcnn": "part.head",
    "cascade_rcnn": "part.head",
    "iou_net": "part.head",
    "centernet2": "part.two_stage",
}
REGIONS = {  # whose time goes there
    "sampler.count": 32,
    **dict.fromkeys(("train_proposals.per_level", "train_proposals.detections"), 64),
    **dict.fromkeys(("test_proposals.per_level", "test_proposals.detections"), 500),
}
BOTH = {  # words with which a trick shows in a family, for the run without it as well
    # GIoU is IoU where every box holds its object, as those of 8 strides to each side do here.
    ("iou", "centernet2"): ["part.tower.reach=1"],
    # It differs in the two coarsest levels alone, whose boxes are behind those of the others.
    ("fpn", "gfl"): ["part.postprocess.score_threshold=0", "part.postprocess.detections=1000"],
}
SILENT = [f"~callback.{name}" for name in ("progress", "table", "pictures", "best", "last")]
BRIEF = [
    "size=small",
    "device=cpu",
    "precision=32-true",
    "run_dir=.",
    "trainer.loggers=null",
    *SILENT,
    "+trainer.enable_checkpointing=false",
    "+trainer.enable_progress_bar=false",
    "trainer.max_epochs=2",
    "trainer.limit_val_batches=0",
    "trainer.num_sanity_val_steps=0",
    "data.batch_size=2",
    "data.num_workers=0",
    "data.train.read.count=16",
    "scenes.layout.side=96",
]


@cache
def row(trick: str) -> Row:
    """What is known of a trick; of a new one nothing."""
    return read_row(GRID, trick)


def beside(trick: str) -> list[str]:
    """Words without which a trick means nothing, but for other tricks."""
    return [word for word in row(trick).beside if not word.startswith("trick=")]


def companions(trick: str) -> list[str]:
    """Other tricks without which it means nothing."""
    named = [
        re.findall(r"\w+", word)[1:] for word in row(trick).beside if word not in beside(trick)
    ]
    return [other for names in named for other in names if other != trick]


def for_several_processes(trick: str) -> bool:
    return any(word.startswith("trainer.devices=") for word in row(trick).beside)


def is_set(trick: str) -> bool:
    """Whether it is made of other tricks."""
    written = OmegaConf.to_container(OmegaConf.load(CONF / "trick" / f"{trick}.yaml"))
    assert isinstance(written, dict)
    return any(isinstance(default, str) for default in written.get("defaults", []))


def words(family: str, *tricks: str) -> list[str]:
    """A run of seconds."""
    side = f"image_size={SIDE.get(family, 64)}"
    return [f"model={family}", f"trick=[{','.join(tricks)}]", side, *BRIEF, *regions(family)]


def regions(family: str) -> list[str]:
    """Words for few of them, where a family has two stages."""
    stages = TWO_STAGES.get(family)
    return [f"{stages}.{key}={count}" for key, count in REGIONS.items()] if stages else []


def cells() -> list[tuple[str, str]]:
    """(trick, family) that work, or that the grid does not know; family by family."""
    alone = [trick for trick in TRICKS if not for_several_processes(trick)]
    return [(t, f) for f in FAMILIES for t in alone if not row(t).families.get(f)]


def pair_of_words(trick: str, family: str) -> tuple[list[str], list[str]]:
    """Words with the trick and without it, the same but for the trick."""
    others = companions(trick)
    both = [*beside(trick), *BOTH.get((trick, family), [])]
    plain = [*words(family, *others), *both]
    return [*words(family, *others, trick), *both, *row(trick).short], plain


class Seen(NamedTuple):
    """What a run shows, each place by tensors with names."""

    batches: dict[str, Tensor]  # of the first and of the last epoch
    weights: dict[str, Tensor]  # that training starts from
    losses: dict[str, Tensor]  # of given images, objects and kernels, while training
    detections: dict[str, Tensor]  # of the same
    trained: dict[str, Tensor]  # weights after two steps; empty unless asked for

    def differing(self, other: "Seen") -> set[str]:
        """Places where two runs differ."""
        return {
            name for name in self._fields if not equal(getattr(self, name), getattr(other, name))
        }


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Bit for bit, names and shapes too; what is not a number equals itself."""
    return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(((a == b) | (a != a) & (b != b)).all())


def seen(*given: str, trained: bool = False) -> Seen:
    """What a run of these words shows."""
    cfg = compose(given)
    module, data, _ = assemble(with_anchors(cfg))
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    detector = filled(module.detector)
    tell_counts(detector, torch.ones(cfg.num_classes))
    batch = given_batch(cfg.image_size, cfg.num_classes)
    return Seen(
        batches=dict(_batches(data)),
        weights=weights,
        losses=_losses(detector, batch),
        detections=_detections(module.tta, detector, batch),
        trained=trained_weights(cfg) if trained else {},
    )


def _batches(data: Any) -> Iterator[tuple[str, Tensor]]:
    """Tensors of the first batches of the first epoch and of the last."""
    loader = data.train_dataloader()
    for epoch in (0, 1):
        loader.sampler.set_epoch(epoch)
        for step, batch in enumerate(islice(loader, 8)):
            for name, tensor in fields(batch).items():
                yield f"{epoch}/{step}/{name}", tensor


def fields(batch: Batch) -> dict[str, Tensor]:
    flat = {**batch._asdict(), **batch.targets._asdict()}
    return {name: value for name, value in flat.items() if isinstance(value, Tensor)}


@cache
def given_batch(side: int, classes: int) -> Batch:
    """The first batch of a plain run."""
    plain = [f"image_size={side}", *BRIEF, "data.batch_size=3"]
    batch = next(iter(instantiate(compose(plain), "data").train_dataloader()))
    assert int(batch.targets.labels.max()) < classes
    return batch


def filled(detector: nn.Module) -> nn.Module:
    """Kernels and matrices become a function of their shape and place among those of that shape.

    So it neither matters how they are named nor what else was drawn before them. What changes with
    the progress of training stands at the end of it.
    """
    seen_shapes: dict[str, int] = {}
    for parameter in detector.parameters():
        if parameter.dim() > 1:
            shape = str(tuple(parameter.shape))
            count = seen_shapes[shape] = seen_shapes.get(shape, -1) + 1
            draw = torch.Generator().manual_seed(zlib.crc32(f"{shape}{count}".encode()))
            scale = (2 / parameter[0].numel()) ** 0.5
            parameter.data = scale * torch.randn(parameter.shape, generator=draw)
    tell(detector, Progress(images_seen=1, step=1, steps=1))
    return detector


def _losses(detector: Any, batch: Batch) -> dict[str, Tensor]:
    torch.manual_seed(0)
    terms = detector.train().loss(batch.images, batch.targets, batch.frames)
    return {name: term.detach() for name, term in terms.items()}


@torch.no_grad()
def _detections(tta: Any, detector: Any, batch: Batch) -> dict[str, Tensor]:
    """As evaluations ask for them; of as many boxes that overlap in all degrees, too."""
    candidates = detector.eval().candidates(batch.images, batch.frames)
    rows = candidates.boxes.shape[1]
    times = -(-(1000 if rows > 10 else 4000) // rows)  # images: of a few boxes fewer overlap
    frames = batch.frames.repeat(times, 1)
    found = {
        "own": (tta(detector) if tta else detector)(batch.images, batch.frames),
        "crafted": detector.postprocess(_overlapping(candidates, times), frames),
    }
    return {f"{name}/{k}": value for name, d in found.items() for k, value in d._asdict().items()}


def _overlapping(candidates: Candidates, times: int) -> Candidates:
    """Boxes about a few middles, with scores of their own, for the same priors; more images.

    Where an IoU is predicted of them, with one of their own as well.
    """
    draw = torch.Generator().manual_seed(0)
    count, *rows = candidates.boxes.shape[:-1]
    middle = 16 + 32 * torch.randint(0, 2, (count * times, *rows, 2), generator=draw)
    middle = middle + 6 * torch.randn(middle.shape, generator=draw)
    half = 6 + 6 * torch.rand(middle.shape, generator=draw)
    crafted = torch.cat([middle - half, middle + half], dim=-1)
    scores = torch.rand(count * times, *candidates.scores.shape[1:], generator=draw)
    iou = None if candidates.iou is None else torch.rand(scores.shape[:2], generator=draw)
    return candidates._replace(boxes=crafted, scores=scores, iou=iou)


def trained_weights(cfg: DictConfig, steps: int = 2) -> dict[str, Tensor]:
    """After some optimiser steps; averages where those are what is kept."""
    limited = cfg.copy()
    limited.trainer.max_steps = steps
    module, data, trainer = assemble(with_anchors(limited))
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == steps
    return {name: value.clone() for name, value in module.state_dict().items()}
