"""Feeds proposals of a file to a model's second stage, and refuses them where there is none."""

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from detectors.detector import Detector
from detectors.fitted.detector import FittedDetector

FIRST_STAGE = ("proposal_head", "train_proposals", "test_proposals", "windows")
OWN = "part.fitted.proposals"


def with_proposals(cfg: DictConfig) -> DictConfig:
    """The config without the first stage of its model, where the data bring proposals.

    Itself where they bring none.

    Raises:
        ValueError: the model has no second stage, or scores by its first one.
    """
    file = OmegaConf.select(cfg, "data.proposals")
    if file is None:
        return cfg
    if OmegaConf.select(cfg, OWN) is not None:  # a fitted model that makes proposals
        found = cfg.copy()
        OmegaConf.update(found, OWN, None)
        return found
    raw: Any = OmegaConf.to_container(cfg, resolve=False)
    places = list(_second_stages(raw.get("part"), "part"))
    if not places:
        raise ValueError(
            f"data.proposals={file}: this model has no second stage that would look at them: "
            "choose one that has, such as model=rcnn, model=fast_rcnn or model=faster_rcnn"
        )
    found = cfg.copy()
    for place in places:
        for name in FIRST_STAGE:
            if OmegaConf.select(found, f"{place}.{name}") is not None:
                OmegaConf.update(found, f"{place}.{name}", None)
        if OmegaConf.select(found, f"{place}.joint_score") is not None:
            raise ValueError(
                f"data.proposals={file}: this model multiplies its scores by those of its first "
                f"stage, and proposals of a file have none: set {place}.joint_score=null"
            )
    return found


def _second_stages(node: Any, place: str) -> Iterator[str]:
    """Keys of the nodes that have a first stage, or leave it out."""
    if isinstance(node, dict):
        if "proposal_head" in node:
            yield place
        for name, child in node.items():
            yield from _second_stages(child, f"{place}.{name}")


def check_proposals(detector: Detector | FittedDetector, file: str | None) -> None:
    """Refuse data without proposals that the detector needs, and with some that it cannot take.

    Raises:
        ValueError: says what is missing.
    """
    needed, taken = _wanted(detector)
    if file is None and needed:
        raise ValueError(
            "this model looks at proposals of a file, and these data have none: make it with "
            "`detectors propose data=...` and add data.proposals=FILE; Fast R-CNN with "
            "head=two_stage_windows looks at the same windows in every picture instead"
        )
    if file is not None and not taken:
        raise ValueError(
            f"data.proposals={file}: this model was not trained on proposals of a file; leave the "
            "word out"
        )


def check_own(detector: Detector | FittedDetector, doing: str) -> None:
    """Refuse a detector that needs proposals, where pictures come without.

    Args:
        doing: what cannot be done.

    Raises:
        ValueError: names the remedy.
    """
    if _wanted(detector)[0]:
        raise ValueError(
            f"{doing}: this model was trained on proposals of a file (data.proposals), and here "
            "come pictures without: evaluate it on data for which `detectors propose` has made "
            "some, or train a model that proposes itself, such as model=faster_rcnn"
        )


def _wanted(detector: Detector | FittedDetector) -> tuple[bool, bool]:
    """Whether a detector needs proposals, and whether it takes them."""
    if isinstance(detector, FittedDetector):
        return (detector.fitted.needs_proposals,) * 2
    return detector.head.needs_proposals, detector.head.takes_proposals
