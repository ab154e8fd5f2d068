"""Tensors of effdet get the names of ours."""

import pytest
import torch

from detectors.weights.effdet import from_effdet


def _state(*names: str, nodes: int = 8) -> dict[str, torch.Tensor]:
    """Such tensors, with as many nodes in the first cell as five levels have."""
    counted = [f"fpn.cell.0.fnode.{node}.combine.edge_weights" for node in range(nodes)]
    return {name: torch.zeros(1) for name in (*names, *counted)}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("backbone.conv_stem.weight", "backbone.body.conv_stem.weight"),
        ("backbone.bn1.weight", "backbone.body.bn1.0.weight"),
        ("backbone.blocks.0.0.bn1.bias", "backbone.body.blocks.0.0.bn1.0.bias"),
        ("backbone.blocks.0.0.bn2.bias", "backbone.body.blocks.0.0.bn2.bias"),
        ("backbone.blocks.6.1.bn2.weight", "backbone.body.blocks.6.1.bn2.0.weight"),
        ("backbone.blocks.6.1.bn3.weight", "backbone.body.blocks.6.1.bn3.weight"),
        ("backbone.blocks.3.0.conv_dw.weight", "backbone.body.blocks.3.0.conv_dw.weight"),
        ("fpn.resample.3.conv.conv.weight", "neck.lateral.3.conv.weight"),
        ("fpn.resample.3.conv.bn.bias", "neck.lateral.3.norm.bias"),
        ("fpn.cell.0.fnode.1.combine.resample.2.conv.bn.bias", "neck.lateral.2.norm.bias"),
        ("fpn.cell.0.fnode.3.combine.resample.0.conv.conv.bias", "neck.lateral.0.conv.bias"),
        ("fpn.cell.0.fnode.4.combine.resample.1.conv.conv.bias", "neck.lateral_up.0.conv.bias"),
        ("fpn.cell.0.fnode.5.combine.resample.2.conv.conv.bias", "neck.lateral_up.1.conv.bias"),
        ("fpn.cell.2.fnode.0.combine.edge_weights", "neck.paths.2.down.3.fuse.weights"),
        ("fpn.cell.2.fnode.3.combine.edge_weights", "neck.paths.2.down.0.fuse.weights"),
        ("fpn.cell.1.fnode.4.combine.edge_weights", "neck.paths.1.up.0.fuse.weights"),
        (
            "fpn.cell.1.fnode.7.after_combine.conv.conv_dw.weight",
            "neck.paths.1.up.3.depthwise.weight",
        ),
        (
            "fpn.cell.1.fnode.2.after_combine.conv.conv_pw.bias",
            "neck.paths.1.down.1.pointwise.conv.bias",
        ),
        (
            "fpn.cell.1.fnode.2.after_combine.conv.bn.running_var",
            "neck.paths.1.down.1.pointwise.norm.running_var",
        ),
        ("class_net.conv_rep.2.conv_pw.bias", "head.tower.class_stack.convs.2.pointwise.bias"),
        ("box_net.bn_rep.1.4.bn.weight", "head.tower.box_stack.norms.4.1.weight"),
        ("class_net.predict.conv_dw.weight", "head.tower.logits.depthwise.weight"),
        ("box_net.predict.conv_dw.weight", "head.tower.deltas.depthwise.weight"),
    ],
)
def test_names(theirs: str, ours: str) -> None:
    assert ours in from_effdet(_state(theirs))


def test_six_levels_have_two_nodes_more() -> None:
    found = from_effdet(_state("fpn.cell.1.fnode.4.combine.edge_weights", nodes=10))
    assert "neck.paths.1.down.0.fuse.weights" in found


def test_x_comes_before_y_in_every_anchor() -> None:
    bias = torch.arange(8.0)
    names = ("box_net.predict.conv_pw.bias", "box_net.predict.conv_pw.weight")
    given = _state() | {names[0]: bias, names[1]: bias.view(8, 1, 1, 1).expand(8, 3, 1, 1)}
    found = from_effdet(given)
    order = [1.0, 0.0, 3.0, 2.0, 5.0, 4.0, 7.0, 6.0]
    assert found["head.tower.deltas.pointwise.bias"].tolist() == order
    assert found["head.tower.deltas.pointwise.weight"][:, 2, 0, 0].tolist() == order
