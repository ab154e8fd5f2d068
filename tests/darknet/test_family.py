"""model=darknet builds what a cfg file says, trains it, and its checkpoints do without the file."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import detectors
from detectors.assigners.best_shape import BestShape
from detectors.assigners.shape_threshold import ShapeThreshold
from detectors.config.compose import compose
from detectors.data.augment.transforms import Letterbox, Stretch
from detectors.detector import Detector
from detectors.engine.build import configured
from detectors.layers.progress import tell
from detectors.losses.box import YoloBox
from detectors.losses.darknet_box import DarknetCIoU
from detectors.postprocess import DIoU, Greedy
from detectors.studies.keys import resolved, run_key
from detectors.weights.darknet import Header, file_layers, read_weights, write_weights
from detectors.weights.initial import initial_model
from tests.darknet.cfg_files import FILES
from tests.examples import START, random_targets

# Weights, biases or (scale, shift) of the norm, layer by layer in the order of the cfg file.
COUNTS = {
    "tiny": sum(
        [
            *(2 * 27 + 4, 4 * 18 + 8, 8 * 36 + 16, 8 * 72 + 16, 16 * 72 + 32),
            *(16 * 144 + 32, 32 * 144 + 64),  # the last two of the backbone
            *(8 * 32 + 16, 16 * 72 + 32, 24 * 16 + 24),  # to the first head
            *(4 * 8 + 8, 8 * (4 + 16) * 9 + 16, 24 * 8 + 24),  # to the second
        ]
    ),
    "region": sum(
        [
            *(2 * 27 + 4, 4 * 18 + 8, 8 * 36 + 16, 8 * 72 + 16, 16 * 72 + 32, 32 * 144 + 64),
            *(4 * 16 + 8, 16 * (4 * 4 + 32) * 9 + 32, 16 * 16 + 16),
        ]
    ),
    "detection": sum(
        [
            *(2 * 27 + 4, 4 * 18 + 8, 4 * 36 + 8, 8 * 36 + 16, 8 * 72 + 16),
            *(2 * 4 + 4 * 2 * 72, 52 * 8 + 52),  # [local] on 2 x 2 cells, [connected]
        ]
    ),
    "mixed": sum(
        [
            *(8 * 27 + 16, 16 * 72 + 32, 8 * 9 + 16, 8 * 72 + 16, 16 * 16 + 32),
            2,  # [shortcut] per_feature
            *(16 * 16 + 32, 16 * 16 + 32, 16 * 64 + 32),
            2 * 16,  # [shortcut] per_channel
            *(16 * 144 + 32, 24 * 16 + 24, 16 * 144 + 32, 24 * 16 + 24),
        ]
    ),
}


@pytest.fixture(params=FILES)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return written(request.param, tmp_path)


def written(name: str, folder: Path) -> Path:
    path = folder / f"{name}.cfg"
    path.write_text(FILES[name])
    return path


def built(file: Path, *words: str) -> Detector:
    detector = detectors.build("darknet", [f"part.cfg={file}", *words])
    tell(detector, START)
    return detector


def test_parameters_are_those_of_counting_by_hand(file: Path) -> None:
    detector = built(file)
    assert sum(p.numel() for p in detector.parameters()) == COUNTS[file.stem]


def test_losses_reach_every_parameter_and_detections_come(file: Path) -> None:
    detector = built(file)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    losses = detector.loss(images, random_targets(2, 8, 3))
    sum(losses.values()).backward()
    assert set(losses) == {"class", "box", "quality"}
    missed = [name for name, p in detector.named_parameters() if p.grad is None]
    assert not missed
    assert len(detector.eval()(images).boxes) == 2


def drawn(detector: Detector) -> Detector:
    """The same with a number of its own at each place."""
    with torch.no_grad():
        for tensor in detector.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    return detector


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs if a.is_floating_point())


def test_weights_are_written_and_read_bit_for_bit(file: Path, tmp_path: Path) -> None:
    source, other = drawn(built(file)), drawn(built(file))
    assert not same(source, other)
    write_weights(source, tmp_path / "a.weights", Header(seen=5))
    assert read_weights(other, tmp_path / "a.weights") == Header(seen=5)
    assert same(source, other)
    write_weights(other, tmp_path / "b.weights", Header(seen=5))
    assert (tmp_path / "a.weights").read_bytes() == (tmp_path / "b.weights").read_bytes()


def test_layers_stand_in_a_file_of_weights_as_in_the_cfg(tmp_path: Path) -> None:
    detector = built(written("mixed", tmp_path))
    names = [layer.name.split(".") for layer in file_layers(detector)]
    order = [
        f"{name[1]} {name[2]}" if name[0] == "backbone" else f"head {name[3]}" for name in names
    ]
    assert order == [
        *(f"layers {n}" for n in (0, 1, 3, 4, 6, 7, 8, 11, 15, 17, 18)),
        "head 1",  # layer 20, the coarser level
        "layers 23",
        "head 0",
    ]


def test_a_depthwise_layer_has_a_kernel_for_each_channel(tmp_path: Path) -> None:
    detector = built(written("mixed", tmp_path))
    assert detector.backbone.layers["3"].conv.weight.shape == (8, 1, 3, 3)


def test_what_is_said_of_a_head_is_what_its_parts_have(tmp_path: Path) -> None:
    plain, mixed = (built(written(name, tmp_path)).head for name in ("tiny", "mixed"))
    assert plain.priors.shapes == [[(4, 6), (8, 9), (16, 20)], [(20, 12), (30, 40), (50, 50)]]
    assert (type(plain.assigner), plain.assigner.ignore) == (BestShape, 0.5)
    assert (type(plain.criterion.losses["box"]), plain.criterion.losses["box"].weight) == (
        YoloBox,
        1,
    )
    assert (plain.coder.scale, mixed.coder.scale) == (1, [1.2, 1.05])
    assert (type(mixed.assigner), mixed.assigner.threshold) == (ShapeThreshold, 0.213)
    assert (mixed.assigner.gate, mixed.assigner.most, mixed.assigner.unused) == (0.25, 6, [])
    box = mixed.criterion.losses["box"]
    assert (type(box), box.weight, box.limit) == (DarknetCIoU, 0.07, float("inf"))


@pytest.mark.parametrize(
    ("keys", "kind", "beta"),
    [
        ("", Greedy, None),
        ("nms_kind=greedynms\nbeta_nms=0.3", DIoU, 0.6),
        ("nms_kind=diounms\nbeta_nms=0.3", DIoU, 0.3),
    ],
)
def test_suppression_is_that_of_the_file(keys: str, kind: type, beta: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.cfg"
    path.write_text(FILES["tiny"].replace("num=6", f"num=6\n{keys}"))
    suppressor = built(path).postprocess.suppressor
    assert (type(suppressor), suppressor.threshold) == (kind, 0.45)
    assert getattr(suppressor, "beta", None) == beta


def test_shapes_that_no_mask_has_compete_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.cfg"
    path.write_text(FILES["tiny"].replace("mask=0,1,2", "mask=1,2,3"))
    assigner = built(path).head.assigner
    assert (type(assigner), assigner.threshold) == (ShapeThreshold, 1)
    assert assigner.unused == [(4, 6)]


def test_size_and_resize_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.cfg"
    path.write_text(FILES["mixed"].replace("width=64", "width=96"))
    words = ["model=darknet", f"part.cfg={path}"]
    cfg = configured(words)
    assert (list(cfg.image_size), cfg.num_classes) == ([64, 96], 3)
    assert cfg.data.resize["_target_"].rpartition(".")[2] == Letterbox.__name__
    plain = configured(["model=darknet", f"part.cfg={written('tiny', tmp_path)}"])
    assert plain.image_size == 64
    assert plain.data.resize["_target_"].rpartition(".")[2] == Stretch.__name__
    chosen = configured([*words, "resize=stretch", "image_size=128"])
    assert (chosen.image_size, chosen.data.resize["_target_"][-7:]) == (128, "Stretch")


def test_other_parts_take_the_place_of_the_files(tmp_path: Path) -> None:
    file = written("tiny", tmp_path)
    changed = built(file, "box_loss=giou", "neck=pan", "part.neck.channels=16", "tower=single")
    assert changed.head.criterion.losses["box"].kind == "giou"
    with pytest.raises(ValueError, match="does not use 'act'"):
        built(file, "act=mish")


def test_a_run_is_named_by_what_the_file_says_not_by_its_place(tmp_path: Path) -> None:
    def key(path: Path) -> str:
        return run_key(resolved(compose(["model=darknet", f"part.cfg={path}"])), "")

    file, other = written("tiny", tmp_path), tmp_path / "b.cfg"
    first = key(file)
    other.write_text(FILES["tiny"].replace("filters=16", "filters = 16") + "\n# a remark\n")
    assert key(other) == first
    other.write_text(FILES["tiny"].replace("filters=16", "filters=32", 1))
    assert key(other) != first


def test_keys_that_are_not_used_are_logged(tmp_path: Path, caplog: Any) -> None:
    with caplog.at_level(logging.INFO):
        configured(["model=darknet", f"part.cfg={written('region', tmp_path)}"])
    (line,) = [r.getMessage() for r in caplog.records if "not used" in r.getMessage()]
    assert line.endswith("[net] learning_rate; [region] jitter, absolute, random")


def test_a_file_of_weights_fills_a_detector_by_word(tmp_path: Path) -> None:
    file = written("tiny", tmp_path)
    source = drawn(built(file))
    write_weights(source, tmp_path / "x.weights")
    words = ["model=darknet", f"part.cfg={file}", f"weights=darknet:{tmp_path / 'x.weights'}"]
    assert same(initial_model(configured(words)), source)


def test_weights_of_other_classes_are_refused_by_their_number(tmp_path: Path) -> None:
    file, other = written("tiny", tmp_path), tmp_path / "b.cfg"
    other.write_text(FILES["tiny"].replace("classes=3", "classes=5").replace("=24", "=30"))
    write_weights(built(other), tmp_path / "x.weights")
    with pytest.raises(ValueError, match=r"of 5 classes has this length: name its cfg file"):
        read_weights(built(file), tmp_path / "x.weights")
