"""What is computed of what in the network of a cfg file, and in which shapes.

A layer's number counts every section after `[net]`, from 0 on. The heads are cut off: of a `[yolo]`
or `[region]` layer the convolution before it, of a `[detection]` layer all connected and local
layers before it. What these read are the feature levels.
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from detectors.darknet.sections import HEADS, Section, parsed

IMAGE = -1  # the number of the network input
JOINING = ("route", "shortcut", "sam", "scale_channels")  # layers that read others than the last
SHARED = (  # keys of a `[yolo]` by which one part serves all levels
    *("classes", "num", "anchors", "iou_loss", "iou_thresh", "ignore_thresh", "iou_normalizer"),
    *("obj_normalizer", "max_delta", "label_smooth_eps", "nms_kind", "beta_nms"),
)
FLAT = ("connected", "local", "dropout", "activation", "empty")  # layers between map and vector


class Shape(NamedTuple):
    """Of what a layer gives for an image of the cfg's size."""

    channels: int
    height: int
    width: int
    cell: tuple[Fraction, Fraction] | None  # image pixels per cell, down and across; None: no map

    def told(self) -> str:
        """As darknet prints it."""
        return f"{self.width} x {self.height} x {self.channels}"


class Step(NamedTuple):
    """A layer with the numbers of those that it reads, and the shapes that it reads and gives."""

    number: int
    section: Section
    sources: tuple[int, ...]
    inputs: tuple[Shape, ...]
    output: Shape


class Branch(NamedTuple):
    """A detection layer and what belongs to it alone."""

    section: Section
    steps: tuple[Step, ...]  # the layers between the feature and the detection layer
    feature: int  # the layer that these read
    shape: Shape  # of the feature
    stride: int


class Plan(NamedTuple):
    """A cfg file as a backbone and heads."""

    net: Section
    steps: tuple[Step, ...]  # of the backbone
    branches: tuple[Branch, ...]  # finest first, of one stride as in the file

    @property
    def kind(self) -> str:
        """The name of the detection layers."""
        return self.branches[0].section.name


@lru_cache(maxsize=8)
def planned(text: str) -> Plan:
    """The network of a cfg file.

    Raises:
        ValueError: names the line, what stands there and what is supported.
    """
    net, *layers = parsed(text)
    steps: list[Step] = []
    for number, section in enumerate(layers):
        steps.append(_step(number, section, [step.output for step in steps], _image(net)))
    branches = [_branch(step, steps) for step in steps if step.section.name in HEADS]
    if not branches:
        raise net.refusal("the file has no detection layer: [yolo], [region] or [detection]")
    _check_kinds(branches)
    own = {step.number for branch in branches for step in branch.steps}
    backbone = [s for s in steps if s.section.name not in (*HEADS, "cost") and s.number not in own]
    _check_readers([*steps], own)
    branches.sort(key=lambda branch: branch.stride)
    return Plan(net, tuple(backbone), tuple(branches))


def _image(net: Section) -> Shape:
    for key in ("width", "height"):
        if net[key] is None:
            raise net.refusal(f"says no {key}: expected that of the images")
    return Shape(3, net["height"], net["width"], (Fraction(1), Fraction(1)))


def _step(number: int, section: Section, outputs: list[Shape], image: Shape) -> Step:
    shapes = {IMAGE: image, **dict(enumerate(outputs))}
    sources = _sources(number, section)
    for source in sources:
        if not 0 <= source < number and source != number - 1:
            key = "layers" if section.name == "route" else "from"
            raise section.refusal(f"this is layer {number}; expected layers before it", key)
    inputs = tuple(shapes[source] for source in sources)
    return Step(number, section, sources, inputs, _SHAPES[section.name](section, inputs))


def _sources(number: int, section: Section) -> tuple[int, ...]:
    """Numbers of the layers that a section reads."""
    if section.name not in JOINING:
        return (number - 1,)
    key = "layers" if section.name == "route" else "from"
    if section[key] is None:
        raise section.refusal(f"says no {key}: expected the number of a layer")
    named = tuple(one if one >= 0 else number + one for one in section[key])
    if section.name in ("sam", "scale_channels") and len(named) != 1:
        raise section.refusal("expected one layer", key)
    return named if section.name == "route" else (number - 1, *named)


def strides(section: Section) -> tuple[int, int]:
    """Down and across."""
    return section["stride_y"] or section["stride"], section["stride_x"] or section["stride"]


def padding(section: Section) -> int:
    """Of a convolution, in cells on each side; of a pooling, in total."""
    if section.name == "convolutional":
        return section["size"] // 2 if section["pad"] else section["padding"]
    size, said = pool_size(section), section["padding"]
    return size - 1 if said is None else said


def pool_size(section: Section) -> int:
    """Side of the window of a pooling."""
    return section["size"] or section["stride"]


def dilation(section: Section) -> int:
    """Of a convolution; one of a single cell has none."""
    return section["dilation"] if section["size"] > 1 else 1


def _map(section: Section, shape: Shape) -> tuple[int, int, int, tuple[Fraction, Fraction]]:
    """The shape of an input that has to be a map."""
    if shape.cell is None:
        raise section.refusal(f"reads a vector, {shape.told()}: expected a map")
    return shape.channels, shape.height, shape.width, shape.cell


def _windowed(section: Section, shape: Shape, channels: int, size: int, pad: int) -> Shape:
    """What windows give that move over a padded map; `pad` in total."""
    _, height, width, cell = _map(section, shape)
    down, across = strides(section)
    rows, columns = (height + pad - size) // down + 1, (width + pad - size) // across + 1
    if rows < 1 or columns < 1:
        raise section.refusal(f"windows of {size} cells do not fit into {shape.told()}", "size")
    return Shape(channels, rows, columns, (cell[0] * down, cell[1] * across))


def _convolved(section: Section, inputs: tuple[Shape, ...]) -> Shape:
    (shape,) = inputs
    filters, groups, size = section["filters"], section["groups"], section["size"]
    if filters % groups or shape.channels % groups:
        told = f"neither {shape.channels} channels nor filters={filters} may leave a rest"
        raise section.refusal(told, "groups")
    reach = dilation(section) * (size - 1) + 1
    if dilation(section) > 1 and not (section["pad"] and size % 2):
        raise section.refusal("expected pad=1 and an odd size beside it", "dilation")
    return _windowed(section, shape, filters, reach, 2 * padding(section) * dilation(section))


def _pooled(section: Section, inputs: tuple[Shape, ...]) -> Shape:
    (shape,) = inputs
    size = pool_size(section)
    if padding(section) >= 2 * size:
        raise section.refusal("expected less than twice the size", "padding")
    return _windowed(section, shape, shape.channels, size, padding(section))


def _averaged(section: Section, inputs: tuple[Shape, ...]) -> Shape:
    channels, height, width, cell = _map(section, inputs[0])
    return Shape(channels, 1, 1, (cell[0] * height, cell[1] * width))


def _upsampled(section: Section, inputs: tuple[Shape, ...]) -> Shape:
    channels, height, width, cell = _map(section, inputs[0])
    factor = section["stride"]
    smaller = (cell[0] / factor, cell[1] / factor)
    return Shape(channels, height * factor, width * factor, smaller)


def _folded(section: Section, inputs: tuple[Shape, ...]) -> Shape:
    channels, height, width, cell = _map(section, inputs[0])
    factor = section["stride"]
    rest = channels % factor**2 if section.name == "reorg" else 0
    if height % factor or width % factor or rest:
        raise section.refusal(f"does not divide {inputs[0].told()}", "stride")
    larger = (cell[0] * factor, cell[1] * factor)
    return Shape(channels * factor**2, height // factor, width // factor, larger)


def _routed(section: Section, inputs: tuple[Shape, ...]) -> Shape:
    groups, part = section["groups"], section["group_id"]
    if len({(shape.height, shape.width) for shape in inputs}) > 1:
        told = " and ".join(shape.told() for shape in inputs)
        raise section.refusal(f"joins {told}: expected one width and height", "layers")
    if part >= groups or any(shape.channels % groups for shape in inputs):
        channels = ", ".join(str(shape.channels) for shape in inputs)
        raise section.refusal(f"group {part} of {groups}, of {channels} channels", "groups")
    return inputs[0]._replace(channels=sum(shape.channels for shape in inputs) // groups)


def _added(section: Section, inputs: tuple[Shape, ...]) -> Shape:
    _check_alike(section, "from", list(inputs))
    if section["weights_type"] == "none" and section["weights_normalization"] != "none":
        raise section.refusal("expected a weights_type beside it", "weights_normalization")
    return inputs[0]


def _gated(section: Section, inputs: tuple[Shape, ...]) -> Shape:
    _check_alike(section, "from", list(inputs))
    return inputs[0]


def _scaled(section: Section, inputs: tuple[Shape, ...]) -> Shape:
    factors, shape = inputs
    if (factors.channels, factors.height, factors.width) != (shape.channels, 1, 1):
        raise section.refusal(
            f"the layer before is {factors.told()}: expected 1 x 1 x {shape.channels}", "from"
        )
    return shape


def _same(section: Section, inputs: tuple[Shape, ...]) -> Shape:
    return inputs[0]


def _connected(section: Section, inputs: tuple[Shape, ...]) -> Shape:
    return Shape(section["output"], 1, 1, None)


def _local(section: Section, inputs: tuple[Shape, ...]) -> Shape:
    _map(section, inputs[0])
    return inputs[0]._replace(channels=section["filters"])


_SHAPES: Mapping[str, Callable[[Section, tuple[Shape, ...]], Shape]] = {
    "convolutional": _convolved,
    "maxpool": _pooled,
    "local_avgpool": _pooled,
    "avgpool": _averaged,
    "upsample": _upsampled,
    "route": _routed,
    "shortcut": _added,
    "sam": _gated,
    "scale_channels": _scaled,
    "reorg": _folded,
    "reorg3d": _folded,
    "connected": _connected,
    "local": _local,
    **dict.fromkeys(("dropout", "activation", "empty", "cost", *HEADS), _same),
}


def _check_alike(section: Section, key: str, shapes: list[Shape]) -> None:
    if len({(shape.channels, shape.height, shape.width) for shape in shapes}) > 1:
        told = " and ".join(shape.told() for shape in shapes)
        raise section.refusal(f"joins {told}: expected equal ones", key)


def _branch(detection: Step, steps: list[Step]) -> Branch:
    """A detection layer with the layers before it that only it needs."""
    section = detection.section
    wanted = "connected" if section.name == "detection" else "convolutional"
    last = steps[detection.number - 1] if detection.number else None
    if last is None or last.section.name != wanted or last.section["activation"] != "linear":
        found = "the images" if last is None else f"[{last.section.name}]"
        if last is not None and last.section.name == wanted:
            found = f"{found} of activation={last.section['activation']}"
        raise section.refusal(f"reads {found}: expected [{wanted}] with activation=linear")
    own = [last]
    while section.name == "detection" and own[0].number and _is_flat(steps[own[0].number - 1]):
        own.insert(0, steps[own[0].number - 1])
    feature, shape = own[0].sources[0], own[0].inputs[0]
    if feature == IMAGE or steps[feature].section.name in HEADS:
        raise section.refusal("has no layer before its last one: expected a backbone")
    return Branch(section, tuple(own), feature, shape, _stride(section, shape, steps))


def _is_flat(step: Step) -> bool:
    return step.section.name in FLAT


def _stride(section: Section, shape: Shape, steps: list[Step]) -> int:
    """Image pixels per cell of a level; the cells have to cover the image as a grid of squares."""
    _, height, width, cell = _map(section, shape)
    image = steps[0].inputs[0]
    if cell[0] != cell[1] or (height * cell[0], width * cell[1]) != (image.height, image.width):
        raise section.refusal(
            f"has {width} x {height} cells of {float(cell[1]):g} x {float(cell[0]):g} pixels, "
            f"which do not cover {image.width} x {image.height} pixels as squares: choose another "
            "width and height in [net], or pad=1 in the layers before"
        )
    if cell[0].denominator != 1:
        raise section.refusal(f"has cells of {float(cell[0]):g} pixels: expected whole ones")
    return int(cell[0])


def _check_kinds(branches: list[Branch]) -> None:
    """Refuse detection layers of two kinds, and several of a kind that looks at itself alone."""
    first = branches[0].section
    for branch in branches[1:]:
        section = branch.section
        if section.name != first.name or first.name != "yolo":
            raise section.refusal(
                f"there is a [{first.name}] in line {first.line} already: expected one, or "
                "several [yolo]"
            )
        for key in SHARED:
            _check_equal(first, section, key)


def _check_equal(first: Section, other: Section, key: str) -> None:
    if first[key] != other[key]:
        line = first.lines.get(key, first.line)
        raise other.refusal(
            f"the [{first.name}] before has another in line {line}: expected one for all levels",
            key,
        )


def _check_readers(steps: list[Step], own: set[int]) -> None:
    """Refuse layers that read what is a head's alone."""
    heads = {step.number for step in steps if step.section.name in (*HEADS, "cost")}
    for step in steps:
        name = step.section.name
        if step.number in heads or step.number in own:
            continue
        if read := [source for source in step.sources if source in own | heads]:
            raise step.section.refusal(
                f"[{name}] reads layer {read[0]}, which belongs to a detection layer: expected a "
                "[route] to a layer before that"
            )
