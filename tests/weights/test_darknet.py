"""Darknet's weight files: order, sizes, reading what was written, and errors."""

import logging
import struct
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import detectors
from detectors.backbones.csp_darknet import CSPDarknet
from detectors.detector import Detector
from detectors.layers.conv import ConvNormAct
from detectors.weights.darknet import Header, file_layers, read_weights, write_weights
from detectors.weights.torchvision import load_weights
from tests.weights import cfg_network

THIN = {  # filters are an eighth of the published ones
    "yolov2": "part.backbone.width=4",
    "yolov3": "part.backbone.width=4",
    "yolov3_spp": "part.backbone.width=4",
    "yolov3_tiny": "part.backbone.width=2",
    "yolov4": "part.backbone.width=4",
    "yolov4_tiny": "part.backbone.width=4",
}


def _seeded(name: str, num_classes: int = 80) -> Detector:
    """A thin detector whose batch norms are all different."""
    detector = detectors.build(name, [THIN[name]], num_classes=num_classes)
    _shuffle(detector)
    return detector.eval()


def _shuffle(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.2, 0.2)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.uniform_(layer.weight, 0.7, 1.3)
            nn.init.uniform_(layer.bias, -0.2, 0.2)


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in module.state_dict().items() if not k.endswith("tracked")}


def _same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("name", THIN)
def test_a_written_file_is_the_network_of_the_cfg(name: str, tmp_path: Path) -> None:
    detector = _seeded(name)
    write_weights(detector, tmp_path / "x.weights")
    numbers = np.fromfile(tmp_path / "x.weights", dtype="<f4", offset=20)
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected = cfg_network.run(name, numbers, image, thinner=8)
        features = detector.neck(detector.backbone(image))
        levels = zip(detector.head.tower.levels, features, strict=True)
        found = [level(feature) for level, feature in levels]
    expected.sort(key=lambda level: -level.shape[-1])  # finest first
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())


@pytest.mark.parametrize("name", THIN)
def test_convolutions_stand_in_the_order_of_the_cfg(name: str) -> None:
    with torch.device("meta"):
        layers = file_layers(detectors.build(name, num_classes=80))
    assert [layer.module.out_channels for layer in layers] == cfg_network.filters(name)


def test_numbers_of_layers_are_those_of_the_cfg_files() -> None:
    assert len(cfg_network.layers("yolov3")) == 107
    assert len(cfg_network.layers("yolov4")) == 162
    yolo = [i for i, word in enumerate(cfg_network.layers("yolov4")) if word == "yolo"]
    assert yolo == [139, 150, 161]


PUBLISHED = [  # file, model, classes, layers, bytes, of which header
    ("yolov1.weights", "yolov1_local", 20, 26, 789_312_988, 16),
    ("darknet19_448.conv.23", "yolov2", 80, 18, 79_327_120, 16),
    ("yolov2.weights", "yolov2", 80, 23, 203_934_260, 16),
    ("yolov2-voc.weights", "yolov2_voc", 20, 23, 202_704_260, 16),
    ("yolov3.weights", "yolov3", 80, 75, 248_007_048, 20),
    ("darknet53.conv.74", "yolov3", 80, 52, 162_482_580, 20),
    ("yolov4.weights", "yolov4", 80, 110, 257_717_640, 20),
    ("yolov4.conv.137", "yolov4", 80, 92, 170_038_676, 20),
    ("csdarknet53-omega.conv.105", "yolov4", 80, 72, 106_610_068, 20),
]


@pytest.mark.parametrize(("file", "model", "classes", "layers", "size", "header"), PUBLISHED)
def test_sizes_are_those_of_the_published_files(
    file: str, model: str, classes: int, layers: int, size: int, header: int
) -> None:
    with torch.device("meta"):
        ours = file_layers(detectors.build(model, num_classes=classes))
    assert header + 4 * sum(layer.size for layer in ours[:layers]) == size, file
    if file.endswith(".weights"):
        assert len(ours) == layers


@pytest.mark.parametrize(
    "header", [Header(seen=2**40), Header(0, 1, 0, 7), Header(0, 2, 0, 0), Header(1, 0, 3, 5)]
)
def test_round_trip_is_exact(header: Header, tmp_path: Path) -> None:
    source, other = _seeded("yolov4_tiny"), _seeded("yolov4_tiny")
    assert not _same(_state(source), _state(other))
    write_weights(source, tmp_path / "a.weights", header)
    assert read_weights(other, tmp_path / "a.weights") == header
    assert _same(_state(source), _state(other))
    write_weights(other, tmp_path / "b.weights", header)
    assert (tmp_path / "a.weights").read_bytes() == (tmp_path / "b.weights").read_bytes()


def test_the_count_of_images_is_narrow_before_version_0_2(tmp_path: Path) -> None:
    conv = nn.Conv2d(1, 1, 1)
    write_weights(conv, tmp_path / "old", Header(0, 1, 0, 9))
    write_weights(conv, tmp_path / "new", Header(0, 2, 0, 9))
    assert (tmp_path / "old").read_bytes()[:16] == struct.pack("<iiiI", 0, 1, 0, 9)
    assert (tmp_path / "new").read_bytes()[:20] == struct.pack("<iiiQ", 0, 2, 0, 9)
    assert (tmp_path / "old").stat().st_size + 4 == (tmp_path / "new").stat().st_size


def test_batch_norm_stands_before_the_weights_of_a_convolution(tmp_path: Path) -> None:
    block = ConvNormAct(2, 3, 1, norm=nn.BatchNorm2d, act=None)
    _shuffle(block)
    write_weights(block, tmp_path / "x")
    norm = block.norm
    parts = [norm.bias, norm.weight, norm.running_mean, norm.running_var, block.conv.weight]
    expected = torch.cat([part.detach().flatten() for part in parts])
    assert np.array_equal(np.fromfile(tmp_path / "x", "<f4", offset=20), expected.numpy())


def test_batch_norm_stands_behind_the_weights_of_a_connected_layer(tmp_path: Path) -> None:
    linear, norm = nn.Linear(2, 3, bias=False), nn.BatchNorm1d(3)
    nn.init.uniform_(norm.bias)
    write_weights(nn.Sequential(linear, norm), tmp_path / "x")
    parts = [norm.bias, linear.weight, norm.weight, norm.running_mean, norm.running_var]
    expected = torch.cat([part.detach().flatten() for part in parts])
    assert np.array_equal(np.fromfile(tmp_path / "x", "<f4", offset=20), expected.numpy())


def test_old_files_hold_connected_layers_transposed(tmp_path: Path) -> None:
    source, other = nn.Linear(2, 3), nn.Linear(2, 3)
    write_weights(source, tmp_path / "x", Header(1001, 0, 0, 0))
    body = np.fromfile(tmp_path / "x", "<f4", offset=16)
    assert np.array_equal(body[3:].reshape(2, 3), source.weight.detach().numpy().T)
    read_weights(other, tmp_path / "x")
    assert _same(_state(source), _state(other))


def test_a_partial_file_fills_what_it_reaches(tmp_path: Path, caplog) -> None:
    source, detector = _seeded("yolov3"), _seeded("yolov3")
    before = _state(detector)
    write_weights(source.backbone, tmp_path / "darknet53.conv.74")
    with caplog.at_level(logging.INFO):
        load_weights(detector, f"darknet:{tmp_path / 'darknet53.conv.74'}")
    assert _same(_state(detector.backbone), _state(source.backbone))
    assert _same(_state(detector.neck), {k[5:]: v for k, v in before.items() if k[:5] == "neck."})
    assert "filled 52 of 75 layers" in caplog.text
    assert "ends before neck.sets.2.0.conv" in caplog.text


def test_a_classifier_is_its_backbone_and_a_convolution(tmp_path: Path) -> None:
    backbone = CSPDarknet(nn.BatchNorm2d, nn.Mish, width=4)
    write_weights(nn.Sequential(backbone, nn.Conv2d(128, 10, 1)), tmp_path / "x")
    with pytest.raises(ValueError, match="1290 numbers are left after the last of 72 layers"):
        read_weights(backbone, tmp_path / "x")
    with torch.device("meta"):  # csdarknet53-omega.weights with its running statistics
        whole = nn.Sequential(CSPDarknet(nn.BatchNorm2d, nn.Mish), nn.Conv2d(1024, 1000, 1))
        assert sum(layer.size for layer in file_layers(whole)) == 27_642_184 + 35_328


@pytest.mark.parametrize(
    ("cut", "match"),
    [
        (
            -4,
            "layer 20 of 21, head.tower.levels.0, which has 8415 numbers, but only 8414 are",
        ),
        (4, "1 numbers are left after the last of 21 layers"),
        (-1, "no whole number"),
    ],
)
def test_a_file_of_wrong_length_says_where_and_changes_nothing(
    cut: int, match: str, tmp_path: Path
) -> None:
    source, other = _seeded("yolov4_tiny"), _seeded("yolov4_tiny")
    path, before = tmp_path / "x.weights", _state(other)
    write_weights(source, path)
    data = path.read_bytes()
    path.write_bytes(data[:cut] if cut < 0 else data + bytes(cut))
    with pytest.raises(ValueError, match=match):
        read_weights(other, path)
    assert _same(_state(other), before)


def test_another_number_of_classes_is_named_and_can_be_left_out(tmp_path: Path, caplog) -> None:
    source, other = _seeded("yolov3_tiny", 80), _seeded("yolov3_tiny", 3)
    write_weights(source, tmp_path / "x.weights")
    with pytest.raises(ValueError, match="set num_classes=80, or weights_classes=80"):
        read_weights(other, tmp_path / "x.weights")
    before = _state(other.head)
    with caplog.at_level(logging.INFO):
        load_weights(other, f"darknet:{tmp_path / 'x.weights'}", _seeded("yolov3_tiny", 80))
    assert _same(_state(other.neck), _state(source.neck))
    assert _same(_state(other.head), before)
    assert caplog.text.count("left out head.tower.levels") == 4  # weight and bias of two levels


def test_what_darknet_has_not_is_refused(tmp_path: Path) -> None:
    norm = partial(nn.GroupNorm, 2)
    with pytest.raises(ValueError, match=r"conv: .*no batch norm follows.*GroupNorm"):
        write_weights(ConvNormAct(3, 4, 1, norm=norm, act=None), tmp_path / "x")
    with pytest.raises(ValueError, match="0: darknet has no layer like ConvTranspose2d"):
        write_weights(nn.Sequential(nn.ConvTranspose2d(3, 4, 1)), tmp_path / "x")
    with pytest.raises(ValueError, match="no batch norm follows"):
        write_weights(nn.Conv2d(3, 4, 1, bias=False), tmp_path / "x")


def test_order_is_found_without_touching_the_network() -> None:
    detector = _seeded("yolov3").train()
    before = _state(detector)
    file_layers(detector)
    assert _same(_state(detector), before)
    assert all(module.training for module in detector.modules())
    assert not any(module._forward_hooks for module in detector.modules())
