from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from detectors.backbones import timm as timm_backbones
from detectors.backbones.timm import TimmBackbone
from detectors.layers.norm import FrozenBatchNorm
from detectors.structures import FeatureSpec


def _torchvision_levels(network: nn.Module, images: Tensor) -> list[Tensor]:
    x = network.maxpool(network.relu(network.bn1(network.conv1(images))))
    levels = []
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        x = stage(x)
        levels.append(x)
    return levels


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize("training", [True, False])
def test_resnet_is_torchvisions_bit_for_bit(name: str, training: bool, tmp_path: Path) -> None:
    theirs = getattr(torchvision.models, name)().train(training)
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    ours = TimmBackbone(
        name, strides=[4, 8, 16, 32], weights=tmp_path / "weights.pth", norm=nn.BatchNorm2d
    ).train(training)
    images = torch.randn(2, 3, 97, 65)
    for found, expected in zip(ours(images), _torchvision_levels(theirs, images), strict=True):
        assert torch.equal(found, expected)


def test_resnet50_body_has_the_published_parameters() -> None:
    with torch.device("meta"):
        body = TimmBackbone("resnet50", norm=nn.BatchNorm2d)
        frozen = TimmBackbone("resnet50", norm=FrozenBatchNorm)
    # without the classifier; batch norm's affine terms are parameters unless frozen
    assert sum(p.numel() for p in body.parameters()) == 23_508_032
    assert sum(p.numel() for p in frozen.parameters()) == 23_508_032 - 53_120
    assert body.specs == [FeatureSpec(512, 8), FeatureSpec(1024, 16), FeatureSpec(2048, 32)]


@pytest.mark.parametrize("norm", [None, nn.BatchNorm2d])
def test_frozen_stride_stops_the_layers_up_to_that_level(norm: type | None) -> None:
    body = TimmBackbone("resnet18", frozen_stride=4, norm=norm).body
    learning = {name.partition(".")[0] for name, p in body.named_parameters() if p.requires_grad}
    stopped = {name.partition(".")[0] for name, p in body.named_parameters() if not p.requires_grad}
    assert learning == {"layer2", "layer3", "layer4"}
    assert stopped == {"conv1", "bn1", "layer1"}


def test_the_first_of_a_process_has_the_weights_of_the_later_ones() -> None:
    """Strides are found once, which must not move the draws of initial weights."""
    timm_backbones._found_once.cache_clear()
    torch.manual_seed(0)
    first = TimmBackbone("resnet18", zero_init_last=False).state_dict()
    torch.manual_seed(0)
    second = TimmBackbone("resnet18", zero_init_last=False).state_dict()
    assert timm_backbones._found_once.cache_info().hits == 1
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_levels_come_finest_first_and_channels_first_from_a_transformer() -> None:
    network = TimmBackbone("swin_tiny_patch4_window7_224", strides=[16, 8], img_size=64)
    assert network.specs == [FeatureSpec(192, 8), FeatureSpec(384, 16)]
    assert [f.shape for f in network(torch.zeros(1, 3, 64, 64))] == [(1, 192, 8, 8), (1, 384, 4, 4)]


def test_safetensors_file_fills_a_network_whose_names_timm_rewrites(tmp_path: Path) -> None:
    source = timm.create_model("efficientnet_b0")
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    network = TimmBackbone("efficientnet_b0", weights=tmp_path / "weights.safetensors")
    filled, given = dict(network.body.named_parameters()), dict(source.named_parameters())
    assert all(torch.equal(value, given[name]) for name, value in filled.items())


def test_folded_names_of_vgg_are_found(tmp_path: Path) -> None:
    with torch.device("meta"):  # its linear layers, which nobody needs, are large
        shapes = timm.create_model("vgg11", num_classes=0).features.state_dict()
    kept = {f"features.{name}": torch.rand(value.shape) for name, value in shapes.items()}
    save_file(kept, tmp_path / "weights.safetensors")
    network = TimmBackbone("vgg11", weights=tmp_path / "weights.safetensors")
    assert torch.equal(network.body.features_0.weight, kept["features.0.weight"])


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    save_file(timm.create_model("resnet18").state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="is it a file of this model"):
        TimmBackbone("resnet34", weights=tmp_path / "weights.safetensors")


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no file"):
        TimmBackbone("resnet18", weights=tmp_path / "absent.pth")


def test_a_failed_download_names_both_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def offline(name: str, pretrained: bool = False, **kwargs: object) -> nn.Module:
        if pretrained:
            raise OSError("no route to host")
        return create(name, **kwargs)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ValueError, match=r"weights=PATH.*machine with network"):
        TimmBackbone("resnet18", pretrained=True)


def test_unknown_stride_is_refused_with_those_offered() -> None:
    with pytest.raises(ValueError, match=r"stride 64, it offers \[2, 4, 8, 16, 32\]"):
        TimmBackbone("resnet18", strides=[8, 64])


def test_unknown_model_is_refused() -> None:
    with pytest.raises(ValueError, match="no model 'resnet19'"):
        TimmBackbone("resnet19")


def test_a_level_that_is_too_small_repeats_its_border() -> None:
    """Half of what is missing comes first, rounded down; a level of the promised size is left."""
    images, feature = torch.empty(1, 3, 100, 65), torch.arange(6.0).view(1, 1, 2, 3)
    found = timm_backbones.grown(feature, images, 20)  # 5 x 4 cells promised
    rows, columns = [0, 0, 1, 1, 1], [0, 1, 2, 2]
    assert torch.equal(found[0, 0], feature[0, 0][rows][:, columns])
    assert timm_backbones.grown(feature, images[..., :40, :50], 20) is feature
