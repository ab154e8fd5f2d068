"""Normalisation layers, and their replacement in a finished network."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.layers.conv import Norm
from detectors.layers.progress import Demanding, Timed
from detectors.ranges import Count, Positive, Share
from detectors.structures import Progress

DEFAULT_EPS = 1e-5  # PyTorch's; a norm that has it takes over that of the norm it replaces


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

    def __init__(self, channels: int, eps: Positive = DEFAULT_EPS) -> None:
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

    The new layer takes over all state of the same name and shape, whether it is trained, and eps
    unless `norm` sets one. The activation inside a batch norm (timm's BatchNormAct2d) is kept
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
    for name in state.keys() & wanted.keys():
        if state[name].shape == wanted[name].shape:
            wanted[name].copy_(state[name])
    new.requires_grad_(all(parameter.requires_grad for parameter in old.parameters()))


def group_norm(channels: int, groups: Count = 32) -> nn.GroupNorm:
    """Group normalisation (Wu and He 2018) that, like any norm here, is made from the channels.

    Raises:
        ValueError: the groups cannot share out the channels.
    """
    if channels % groups:
        raise ValueError(
            f"group norm of {groups} groups cannot share out the {channels} channels of a layer: "
            "choose another norm, fewer groups or wider layers"
        )
    return _GroupNorm(groups, channels)


class _GroupNorm(nn.GroupNorm):
    """torch's, which refuses one value a group of one picture, but not of two pictures.

    Such a value is its own mean: what is left is the bias.
    """

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, H, W] -> the same."""
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


class FilterResponseNorm(nn.Module):
    """Divides each channel of each image by its root mean square, then scales and shifts it.

    Singh and Krishnan 2020, "Filter response normalization layer", eq. 1 and 2: no mean
    is subtracted and other images do not matter. The paper's threshold is `ThresholdedLinear`.

    Args:
        channels: of the maps.
        eps: 1e-6 in sec. 3.1.
    """

    def __init__(self, channels: int, eps: Positive = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        square = x.float().square().mean((-2, -1), keepdim=True)
        scale = self.weight.view(-1, 1, 1) * (square + self.eps).rsqrt()
        return (x * scale + self.bias.view(-1, 1, 1)).to(x.dtype)


class CrossMiniBatchNorm(Timed, Demanding):
    """Batch norm over all mini-batches of the batch so far (CmBN, YOLOv4, sec. 3.4 and fig. 4).

    Mini-batch i is normalised by the mean over the first i of their means and of their mean
    squares; only its own carry a gradient. The weights stay the same within a batch, so the last
    mini-batch sees the statistics of one big batch. These go into the running ones, then only, as
    in AlexeyAB's `src/blas_kernels.cu`, `fast_v_cbn_kernel`; the variance is the biased one.

    Args:
        channels: of the maps.
        momentum: of the running statistics; 0.01 in darknet.

    Raises:
        ValueError: when checked, each batch is one mini-batch.
    """

    running_mean: Tensor
    running_var: Tensor
    sums: Tensor
    count: Tensor
    last: Tensor

    def __init__(self, channels: int, eps: Positive = DEFAULT_EPS, momentum: Share = 0.01) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("sums", torch.zeros(2, channels), persistent=False)
        self.register_buffer("count", torch.zeros(()), persistent=False)
        self.register_buffer("last", torch.zeros(()), persistent=False)

    def check(self, mini_batches: int, compiled: bool) -> None:
        if mini_batches < 2:
            raise ValueError(
                "norm=cmbn looks at the mini-batches of one batch, but "
                "trainer.accumulate_grad_batches=1 makes every batch one mini-batch, where it is "
                "plain batch norm: set trainer.accumulate_grad_batches=4, or norm=batch"
            )

    def begin(self, progress: Progress) -> None:
        if progress.mini_batch == 0:
            self.sums.zero_()
            self.count.zero_()
        self.last.fill_(float(progress.mini_batch == progress.mini_batches - 1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W], one mini-batch, to the same shape and type; sums are float32."""
        if not self.training:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        self.require_progress()
        wide = x.float()
        sums = self.sums + torch.stack([wide.mean((0, 2, 3)), wide.square().mean((0, 2, 3))])
        count = self.count + 1
        mean, square = sums / count
        variance = (square - mean.square()).clamp(min=0)
        self._keep(sums.detach(), count, mean.detach(), variance.detach())
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return (wide * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)).to(x.dtype)

    @torch.no_grad()
    def _keep(self, sums: Tensor, count: Tensor, mean: Tensor, variance: Tensor) -> None:
        self.sums.copy_(sums)
        self.count.copy_(count)
        share = self.momentum * self.last
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)
