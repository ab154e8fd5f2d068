"""Normalisation layers, and how a finished network gets other ones."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.layers.conv import Norm

DEFAULT_EPS = 1e-5  # PyTorch's; a norm that has it is taken to have no wish of its own


class FrozenBatchNorm(nn.Module):
    """Batch norm whose statistics and affine terms never change; its state is all buffers.

    Numbers and names are those of torchvision's FrozenBatchNorm2d, which however turns bfloat16
    into float32 and takes 4.5 times as long there (8.5 against 1.9 ms forward and backward of
    [4, 256, 80, 80], channels last, 2 cores).
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = DEFAULT_EPS) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps}"


def replace_batch_norms(network: nn.Module, norm: Norm) -> None:
    """Put `norm(channels)` in the place of every BatchNorm2d inside `network`.

    The new layer takes over whatever state has the same name and shape, whether it learns, and eps
    unless `norm` sets one. Batch norms that contain an activation (timm's BatchNormAct2d) keep it
    behind the new layer.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, _replacement(child, norm))


def _replacement(old: nn.BatchNorm2d, norm: Norm) -> nn.Module:
    new = norm(old.num_features)
    _copy_state(old, new)
    after = [child for child in old.children() if not isinstance(child, nn.Identity)]
    return nn.Sequential(new, *after) if after else new


def _copy_state(old: nn.BatchNorm2d, new: nn.Module) -> None:
    if getattr(new, "eps", None) == DEFAULT_EPS:
        new.eps = old.eps  # type: ignore[assignment]
    state, wanted = old.state_dict(), new.state_dict()
    shared = {k: v for k, v in state.items() if k in wanted and v.shape == wanted[k].shape}
    new.load_state_dict(shared, strict=False)
    new.requires_grad_(all(parameter.requires_grad for parameter in old.parameters()))


def group_norm(channels: int, groups: int = 32) -> nn.GroupNorm:
    """Group normalisation (Wu and He 2018) by channels alone, so that it fits the norm slot.

    Raises:
        ValueError: the groups cannot share out the channels.
    """
    if channels % groups:
        raise ValueError(
            f"group norm of {groups} groups cannot share out the {channels} channels of a layer: "
            "choose another norm, fewer groups or wider layers"
        )
    return nn.GroupNorm(groups, channels)
