"""A part is told at once what its contract wants of it and why."""

from abc import ABC, ABCMeta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import pytest
import torch
from hydra.utils import get_object
from omegaconf import OmegaConf
from torch import Tensor, nn

from detectors.assigners import Assigner
from detectors.assigners.max_iou import MaxIoU
from detectors.assigners.sim_ota import SimOTA
from detectors.backbones import Backbone
from detectors.coders import Coder, Delta, DistanceDistribution
from detectors.config.compose import compose
from detectors.config.paths import CONF
from detectors.contracts import check_contract, made_by
from detectors.data.augment import Mix, Transform
from detectors.data.augment.transforms import scale_free
from detectors.detector import Detector
from detectors.engine.build import initial_detector
from detectors.fitted import Fitted
from detectors.fitted.detector import FittedDetector
from detectors.heads import Head, Pooler, RegionHead, Tower
from detectors.heads.corners import CornerHead
from detectors.heads.criterion import Criterion
from detectors.heads.dense import DenseHead
from detectors.heads.grouping import Grouping
from detectors.heads.towers import SharedTower, SingleTower
from detectors.losses import LossTerm, LossWeight, Mining
from detectors.losses.box import IoULoss
from detectors.losses.classification import BinaryCrossEntropy
from detectors.losses.reduction import per_image_positives
from detectors.losses.tags import PullPush
from detectors.necks import Neck
from detectors.postprocess import PostProcess, Suppressor
from detectors.priors import Points, PriorGrid
from detectors.scores import ClassAlone, ClassTimesQuality, Score
from detectors.structures import FeatureSpec
from tests.fitted.blobs import Blobs

CONTRACTS = [Fitted, Assigner, Backbone, Coder, Head, LossTerm, LossWeight, Mining, Neck, Pooler]
CONTRACTS += [
    Grouping,
    Mix,
    PostProcess,
    PriorGrid,
    RegionHead,
    Score,
    Suppressor,
    Tower,
    Transform,
]
KINDS = {  # the group of a part's YAML
    "assigner": Assigner,
    "coder": Coder,
    "head": Head,
    "mining": Mining,
    "neck": Neck,
    "pooler": Pooler,
    "score": Score,
    "tower": Tower,
    **dict.fromkeys(["box_loss", "class_loss", "quality_loss"], LossTerm),
}
FILES = sorted(path for kind in KINDS for path in (CONF / kind).glob("*.yaml"))
SPECS = [FeatureSpec(8, 16)]


class Plain(nn.Module):
    """A term that derives from nothing of ours and says nothing of itself."""

    def forward(self, matched: object) -> Tensor:
        return torch.zeros(1, 1)


class Complete(Plain):
    """The same, with all that a `LossTerm` has."""

    needs_quality = needs_background = selects = False
    score_activation, deltas, counts = "logistic", None, "priors"


class Halves(nn.Module):
    """A backbone of one's own: as little as there must be."""

    def __init__(self) -> None:
        super().__init__()
        self.specs = [FeatureSpec(3, 2)]

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images[..., ::2, ::2]]


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
def test_a_contract_says_what_each_attribute_and_method_means(contract: ABCMeta) -> None:
    hints = get_type_hints(contract, include_extras=True)
    assert all(isinstance(get_args(hints[name])[1], str) for name in contract.__annotations__)
    methods = contract.__abstractmethods__
    assert methods
    assert all(getattr(contract, name).__doc__ for name in methods)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_a_part_that_yaml_makes_keeps_its_contract(file: Path) -> None:
    node = OmegaConf.load(file)
    if "_target_" not in node:  # changes another file, or is none
        return
    made = get_object(node["_target_"])
    assert not isinstance(made, type) or issubclass(made, KINDS[file.parent.name])


def test_a_term_that_lacks_an_attribute_is_told_which_what_for_and_where_it_is_had() -> None:
    told = (
        r"Plain lacks `needs_quality`, which every LossTerm has: whether it teaches the quality "
        r"logit.*Derive the class from detectors.losses.LossTerm, where it is False, or set it"
    )
    with pytest.raises(ValueError, match=told):
        Criterion(3, Delta(), {"class": Plain()}, per_image_positives)  # type: ignore[dict-item]


def test_a_term_may_have_the_attributes_without_the_base_class() -> None:
    check_contract(Complete(), LossTerm)


def test_an_attribute_without_default_is_to_be_set() -> None:
    with pytest.raises(ValueError, match=r"Plain lacks `specs`.* Set it in the constructor"):
        Detector(Plain(), Plain, Plain, Plain(), [0.0] * 3, [1.0] * 3)  # type: ignore[arg-type]


def test_what_makes_boxes_tells_how_many_it_finds() -> None:
    plain: Any = Plain()
    fcos = initial_detector(compose(["model=fcos", "size=small"]))
    parts = fcos.backbone, lambda specs: fcos.neck, lambda specs: fcos.head
    with pytest.raises(
        ValueError, match=r"Plain lacks `detections`.*PostProcess, where it is None"
    ):
        Detector(*parts, plain, [0.0] * 3, [1.0] * 3)
    with pytest.raises(ValueError, match=r"Plain lacks `detections`"):
        FittedDetector(Blobs(3), plain, 3)
    with pytest.raises(ValueError, match=r"Plain lacks `objects`.*Grouping, where it is None"):
        CornerHead(SPECS, {}, Plain, Plain, PullPush(1.0, 1.0), plain)


def test_a_backbone_needs_its_specs_only() -> None:
    check_contract(Halves(), Backbone)


def test_a_method_that_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match=r"Plain lacks `decode`.* Write that method"):
        check_contract(_with(Plain(), numbers=4, kind="box", by_class=False, encode=None), Coder)


def _with(part: nn.Module, **attributes: object) -> nn.Module:
    for name, value in attributes.items():
        setattr(part, name, value)
    return part


def test_an_assigner_of_ones_own_is_told_that_it_needs_a_score_or_none() -> None:
    with pytest.raises(ValueError, match=r"lacks `score`, which every Assigner has"):
        _head(assigner=Plain())


def _head(tower: object = SharedTower, **parts: object) -> DenseHead:
    given: dict = {
        "coder": Delta(),
        "assigner": MaxIoU(0.5, 0.4, forced=False),
        "losses": {"class": BinaryCrossEntropy(), "box": IoULoss("giou")},
        "score": ClassAlone(),
    }
    return DenseHead(
        SPECS,
        num_classes=3,
        tower=tower,  # type: ignore[arg-type]
        priors=Points(1),
        loss_normalizer=per_image_positives,
        **(given | parts),
    )


def test_a_tower_regresses_as_many_numbers_as_the_coder_decodes() -> None:
    head = _head(coder=DistanceDistribution(bins=3))
    assert head.tower([torch.zeros(1, 8, 2, 2)])[0][1].shape[1] == 16
    partial_head = _head(partial(SharedTower, depth=1), coder=DistanceDistribution(bins=3))
    assert partial_head.tower([torch.zeros(1, 8, 2, 2)])[0][1].shape[1] == 16


def test_a_tower_of_four_numbers_is_refused_beside_a_coder_of_more() -> None:
    with pytest.raises(ValueError, match=r"decodes 16 numbers .* SingleTower regresses four"):
        _head(SingleTower, coder=DistanceDistribution(bins=3))


def test_an_assigner_ranks_by_the_value_of_a_score_not_by_the_object() -> None:
    _head(assigner=SimOTA(ClassAlone()))
    with pytest.raises(
        ValueError, match=r"SimOTA looks at scores by ClassTimesQuality.* ClassAlone"
    ):
        _head(assigner=SimOTA(ClassTimesQuality()))


def test_targets_of_several_classes_are_refused_by_a_loss_of_exactly_one() -> None:
    words = ["model=ssd300", "size=small", "assigner=best_shape"]
    told = "BestShape gives soft.*HardNegativeCrossEntropy learns one.*tower=level"
    with pytest.raises(ValueError, match=told):
        initial_detector(compose(words))
    initial_detector(compose([*words, "class_loss=bce", "score=class", "tower=level"]))


def test_a_factory_is_known_by_what_it_makes() -> None:
    assert made_by(partial(partial(SharedTower, depth=1), quality=True)) is SharedTower
    assert made_by(SharedTower) is SharedTower


def test_every_attribute_of_a_kind_is_read_from_its_annotation() -> None:
    class Small(ABC):
        size: Annotated[int, "how large it is"]

    with pytest.raises(ValueError, match="how large it is"):
        check_contract(nn.Identity(), Small)


def test_a_transform_without_the_base_class_says_whether_it_is_scale_free() -> None:
    with pytest.raises(ValueError, match="Identity lacks `scale_free`"):
        scale_free({"own": nn.Identity()})  # type: ignore[dict-item]
