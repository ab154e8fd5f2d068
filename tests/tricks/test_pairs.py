"""Any two tricks compose, and take two steps or are refused with a reason.

A pair is composed by Hydra where both tricks set a key, to other values. Else its config is the
plain one with what either changes, which is compared with Hydra's for a sample of the pairs.

Steps are taken together where tricks can meet: two that change batches, over the pipeline of
samples; two that change the network, and two that change losses, over the detector; a callback and
a network, by Lightning. All others meet through a batch, a prediction or a candidate alone, whose
kinds no trick changes: test_on.py shows that each leaves the other's place as it is. Of these the
sample takes its steps too. Pairs are tried in the order of the alphabet.
"""

import copy
import re
import traceback
import zlib
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from detectors.config.compose import compose
from detectors.config.instantiate import instantiate
from detectors.config.overrides import changes, check_overrides, leaves
from detectors.config.paths import CONF
from detectors.engine.build import initial_detector
from detectors.layers.progress import tell, tell_counts
from detectors.structures import Progress
from tests.tricks.bag import (
    beside,
    for_several_processes,
    given_batch,
    is_set,
    names,
    row,
    trained_weights,
    words,
)
from tests.tricks.test_on import declared

FAMILIES = ["yolov3", "fcos", "faster_rcnn"]
THIN = {
    "yolov3": ["part.backbone.width=4"],
    "fcos": ["part.neck.channels=64", "part.backbone.name=test_resnet"],
    "faster_rcnn": ["part.neck.channels=32", "part.backbone.name=test_resnet"],
}
TRICKS = [t for t in names() if not (for_several_processes(t) or is_set(t))]
FAST = {("yolov3", "spp")}
LOSSES = {  # parts of the config that are about losses
    *("box_loss", "class_loss", "quality_loss", "assigner", "loss_normalizer", "mining"),
    *("loss_weights", "coder", "score", "head", "several"),
}
SAMPLE = 40  # one pair in so many
MISSING = object()


def given(family: str, *tricks: str) -> list[str]:
    """Words of a run with these tricks; closing_mosaic ends what it is given."""
    extra = [word for trick in tricks for word in row(trick).short + beside(trick)]
    return [*words(family, *tricks), *THIN.get(family, []), *extra]


@cache
def single(family: str, *tricks: str) -> tuple[DictConfig, dict[str, Any]]:
    """The config and its leaves."""
    cfg = compose(given(family, *tricks))
    return cfg, written(cfg)


def written(cfg: DictConfig) -> dict[str, Any]:
    return dict(leaves(OmegaConf.to_container(cfg, resolve=False)))


@cache
def changed(family: str, trick: str) -> dict[str, Any]:
    """Leaves that a trick sets, to what; MISSING where it takes one away."""
    one, plain = single(family, trick), single(family)
    return {key: one[1].get(key, MISSING) for key in sorted(changes(one[0], plain[0]))}


def composed(family: str, first: str, second: str) -> DictConfig:
    """The pair's config, by Hydra and checked where the tricks meet in a key.

    Raises:
        ValueError: the pair is refused.
    """
    a, b = changed(family, first), changed(family, second)
    if _meet(a, b) or _groups(first) & _groups(second):
        cfg = compose(given(family, first, second))
        check_overrides(cfg, given(family, first, second))
        return cfg
    return _merged(single(family)[1], a, b)


@cache
def _groups(trick: str) -> set[str]:
    """Groups of the config of which a trick chooses another file, or perhaps the same one."""
    text = (CONF / "trick" / f"{trick}.yaml").read_text(encoding="utf-8")
    return set(re.findall(r"override /(\w+):", text))


def _meet(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return any(a[key] is not b[key] and a[key] != b[key] for key in a.keys() & b.keys())


def _merged(plain: dict[str, Any], *changed: dict[str, Any]) -> DictConfig:
    flat = dict(plain)
    for change in changed:
        flat.update(change)
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        if value is not MISSING:
            *path, name = key.split(".")
            node = nested
            for step in path:
                node = node.setdefault(step, {})
            node.setdefault(name, copy.deepcopy(value))
    return OmegaConf.create(nested)


def meeting(family: str, first: str, second: str) -> set[str]:
    """Where two tricks meet: in the "pipeline", the "detector" or a "fit"."""
    one, two = kinds(family, first), kinds(family, second)
    found = {"pipeline"} if "batches" in one & two else set()
    if {"network", "loss"} & one & two:
        found |= {"detector"}
    if "trained" in one | two and "network" in one | two:
        found |= {"fit"}
    return found


@cache
def kinds(family: str, trick: str) -> set[str]:
    """What a trick is about: "batches", a "network", a "loss", "detections", what is "trained"."""
    must = declared(list(changed(family, trick)), trick)[0]
    if "losses" not in must:
        return must
    parts = {key.split(".")[1] for key in changed(family, trick) if key.startswith("part.")}
    return must - {"losses"} | {"loss" if parts <= LOSSES else "network"}


def take_steps(cfg: DictConfig, places: set[str]) -> None:
    """Two of them, over what the tricks meet in; in a fit the detector has its part."""
    if "pipeline" in places:
        for batch in islice(instantiate(cfg, "data").train_dataloader(), 2):
            assert batch.images.dtype == torch.uint8
    if "fit" in places:
        assert all(value.isfinite().all() for value in trained_weights(cfg).values())
    elif "detector" in places:
        _two_steps(cfg)


def _two_steps(cfg: DictConfig) -> None:
    torch.manual_seed(0)
    detector = initial_detector(cfg).train()
    batch = given_batch(cfg.image_size, cfg.num_classes)
    optimizer = torch.optim.SGD(detector.parameters(), 1e-4)
    tell_counts(detector, torch.ones(cfg.num_classes))
    for step in range(2):
        tell(detector, Progress(images_seen=3 * (step + 1), step=step, steps=2))
        optimizer.zero_grad()
        loss = sum(detector.loss(batch.images, batch.targets, batch.frames).values())
        assert isinstance(loss, torch.Tensor)
        assert loss.isfinite()
        loss.backward()
        optimizer.step()
    detector.eval()(batch.images, batch.frames)


@pytest.mark.parametrize(
    ("family", "first"),
    [
        pytest.param(family, trick, marks=[pytest.mark.slow] * ((family, trick) not in FAST))
        for family in FAMILIES
        for trick in TRICKS[:-1]
    ],
)
def test_two_tricks_take_two_steps_or_are_refused(
    family: str, first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for second in TRICKS[TRICKS.index(first) + 1 :]:
        sampled = zlib.crc32(f"{family}{first}{second}".encode()) % SAMPLE == 0
        check_pair(family, first, second, sampled)


def check_pair(family: str, first: str, second: str, sampled: bool) -> None:
    """Two steps of a pair, where it is not refused.

    Raises:
        ValueError: it was neither; what failed was not raised as a reason.
    """
    places = meeting(family, first, second) | ({"detector"} if sampled else set())
    apart = not _meet(changed(family, first), changed(family, second))
    if not places and apart and not _groups(first) & _groups(second):
        return
    try:
        cfg = composed(family, first, second)
        if sampled:
            assert written(cfg) == written(compose(given(family, first, second)))
        take_steps(cfg, places)
    except ValueError as error:
        if not is_reason(error):
            raise


def is_reason(error: BaseException) -> bool:
    """Whether some part of ours raised it, or what led to it, and says something."""
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    return len(str(error)) > 20 and any(map(_raised_by_a_part, chain))


def _raised_by_a_part(error: BaseException) -> bool:
    """Not by a library, nor where a config is told to be the place of what went wrong."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    told = place.filename.endswith("composition.py") and error.__cause__ is not None
    ours = "/detectors/" in place.filename and str(place.line).startswith("raise ")
    return ours and not told
