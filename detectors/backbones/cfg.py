"""The network that a cfg file of darknet describes, up to its heads."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from detectors.backbones import Backbone
from detectors.darknet.plan import (
    IMAGE,
    JOINING,
    Step,
    dilation,
    padding,
    planned,
    pool_size,
    strides,
)
from detectors.layers.conv import Norm
from detectors.layers.dark import init_darknet
from detectors.layers.darknet import (
    ACTIVATIONS,
    Folded,
    GlobalMean,
    PaddedMean,
    PaddedPool,
    Product,
    Route,
    Shortcut,
    Upsampled,
    WeightedShortcut,
    followed,
)
from detectors.layers.local import LocalConv
from detectors.layers.pool import DarkPool
from detectors.structures import FeatureSpec


class CfgBackbone(Backbone):
    """The layers of a cfg file before the last ones of its heads (`detectors.darknet.plan`).

    A layer's name is its number in darknet. The order of layers, and so that of a file of weights,
    is the cfg's.

    Args:
        network: the text of the cfg file.
        norm: of convolutions with `batch_normalize=1`.

    Raises:
        ValueError: the cfg asks for what there is not; names the line.
    """

    def __init__(self, network: str, norm: Norm | None) -> None:
        super().__init__()
        plan = planned(network)
        self.features = [branch.feature for branch in plan.branches]
        self.specs = [FeatureSpec(branch.shape.channels, branch.stride) for branch in plan.branches]
        self.layers = nn.ModuleDict({str(step.number): layer(step, norm) for step in plan.steps})
        needed = _needed(plan.steps, self.features)
        self.steps = [(s.number, s.sources) for s in plan.steps if s.number in needed]
        self.joining = {s.number for s in plan.steps if s.section.name in JOINING}
        self.last_use = {source: index for index, sources in self.steps for source in sources}
        # Of each level, how many layers stand in the file before those of its head.
        self.before_heads = [
            sum(step.number < branch.steps[0].number for step in plan.steps)
            for branch in plan.branches
        ]
        init_darknet(self)

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> one [B, channels, H / stride, W / stride] per spec."""
        outputs = {IMAGE: images}
        for index, sources in self.steps:
            maps = [outputs[source] for source in sources]
            module = self.layers[str(index)]
            outputs[index] = module(maps) if index in self.joining else module(maps[0])
            for source in sources:
                if self.last_use[source] == index and source not in self.features:
                    outputs.pop(source, None)
        return [outputs[feature] for feature in self.features]


def _needed(steps: tuple[Step, ...], features: list[int]) -> set[int]:
    """Numbers of the layers that the features depend on."""
    needed = set(features)
    for step in reversed(steps):
        if step.number in needed:
            needed.update(step.sources)
    return needed


def layer(step: Step, norm: Norm | None) -> nn.Module:
    """What computes a step: of a tensor, or of a list of them where the step is `JOINING`."""
    return _MAKERS[step.section.name](step, norm)


def convolution(step: Step, norm: Norm | None, in_channels: int | None = None) -> nn.Sequential:
    """Convolution, norm and activation as `conv`, `norm` and `act`.

    Args:
        in_channels: those of the map that it reads, if they are not the cfg's.
    """
    section = step.section
    normed = norm is not None and section["batch_normalize"] == "1"
    made = nn.Sequential()
    made.conv = nn.Conv2d(
        in_channels or step.inputs[0].channels,
        section["filters"],
        section["size"],
        strides(section),
        padding=padding(section) * dilation(section),
        dilation=dilation(section),
        groups=section["groups"],
        bias=not normed,
    )
    if norm is not None and normed:
        made.norm = norm(section["filters"])
    if section["activation"] != "linear":
        made.act = ACTIVATIONS[section["activation"]]()
    return made


def _max_pool(step: Step, norm: Norm | None) -> nn.Module:
    section = step.section
    size, (down, across) = pool_size(section), strides(section)
    usual = down == across and down <= 2 and padding(section) == size - 1
    if usual and (size % 2 or size == 2):
        return DarkPool(size, down)
    return PaddedPool(size, (down, across), padding(section))


def _mean_pool(step: Step, norm: Norm | None) -> nn.Module:
    section = step.section
    return PaddedMean(pool_size(section), strides(section), padding(section))


def _shortcut(step: Step, norm: Norm | None) -> nn.Module:
    section, shapes = step.section, step.inputs
    added: nn.Module = Shortcut()
    if section["weights_type"] != "none":
        channels = shapes[0].channels if section["weights_type"] == "per_channel" else 1
        kind = section["weights_normalization"].removeprefix("avg_")
        added = WeightedShortcut(len(shapes), channels, kind)
    return followed(added, section["activation"])


def _product(step: Step, norm: Norm | None) -> nn.Module:
    return followed(Product(), step.section["activation"])


def _route(step: Step, norm: Norm | None) -> nn.Module:
    return Route(step.section["groups"], step.section["group_id"])


def _fold(step: Step, norm: Norm | None) -> nn.Module:
    return Folded(step.section["stride"], scrambled=step.section.name == "reorg")


def _upsample(step: Step, norm: Norm | None) -> nn.Module:
    return Upsampled(step.section["stride"], step.section["scale"])


def _activate(step: Step, norm: Norm | None) -> nn.Module:
    return followed(nn.Identity(), step.section["activation"])


def _connect(step: Step, norm: Norm | None) -> nn.Module:
    section, (shape,) = step.section, step.inputs
    normed = section["batch_normalize"] == "1"
    inputs = shape.channels * shape.height * shape.width
    linear = nn.Linear(inputs, section["output"], bias=not normed)
    nn.init.uniform_(linear.weight, -((2 / inputs) ** 0.5), (2 / inputs) ** 0.5)
    made = nn.Sequential(nn.Flatten(), linear)
    if normed:
        made.append(nn.BatchNorm1d(section["output"], momentum=0.01))
    else:
        nn.init.zeros_(linear.bias)
    return made if section["activation"] == "linear" else followed(made, section["activation"])


def _localize(step: Step, norm: Norm | None) -> nn.Module:
    section, (shape,) = step.section, step.inputs
    local = LocalConv(shape.channels, section["filters"], shape.height, shape.width)
    return followed(local, section["activation"])


_MAKERS: Mapping[str, Callable[[Step, Norm | None], nn.Module]] = {
    "convolutional": convolution,
    "maxpool": _max_pool,
    "local_avgpool": _mean_pool,
    "avgpool": lambda step, norm: GlobalMean(),
    "upsample": _upsample,
    "route": _route,
    "shortcut": _shortcut,
    "sam": _product,
    "scale_channels": _product,
    "reorg": _fold,
    "reorg3d": _fold,
    "dropout": lambda step, norm: nn.Dropout(step.section["probability"]),
    "activation": _activate,
    "empty": lambda step, norm: nn.Identity(),
    "connected": _connect,
    "local": _localize,
}
