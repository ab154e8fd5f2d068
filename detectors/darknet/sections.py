"""Reads the sections of a cfg file of darknet; every key is known and every value checked.

Names, defaults and meanings are those of AlexeyAB's darknet, `src/parser.c`, which also reads the
files of pjreddie's. A key that asks for something that is not here is refused with its line, and so
is one that nobody knows: darknet ignores such a key.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

ALIASES = {
    "network": "net",
    "conv": "convolutional",
    "conn": "connected",
    "max": "maxpool",
    "avg": "avgpool",
    "local_avg": "local_avgpool",
    "silence": "empty",
}
ACTIVATIONS = (
    *("linear", "leaky", "mish", "logistic", "swish", "relu", "relu6", "hard_mish", "elu", "selu"),
    *("gelu", "tanh", "hardtan", "lhtan", "loggy", "ramp", "relie", "plse"),
)


class Key(NamedTuple):
    """What may stand behind a key."""

    default: Any
    read: Callable[[str], Any]  # raises ValueError where it cannot
    expected: str
    unused: bool = False  # it is for darknet's own training or display, and nothing here reads it


def _count(default: int | None) -> Key:
    return Key(default, lambda text: _least(int(text), 1), "a whole number from 1 on")


def _whole(default: int) -> Key:
    return Key(default, lambda text: _least(int(text), 0), "a whole number from 0 on")


def _number(default: float | None, least: float = 0.0) -> Key:
    return Key(default, lambda text: _least(float(text), least), f"a number from {least:g} on")


def _indices(default: Any = None) -> Key:
    return Key(default, lambda text: tuple(map(int, _items(text))), "whole numbers and commas")


def _numbers() -> Key:
    return Key(None, lambda text: tuple(map(float, _items(text))), "numbers and commas")


def _word(default: str, *words: str) -> Key:
    return Key(default, lambda text: _one_of(text, (default, *words)), _choice((default, *words)))


def _only(value: float, why: str = "the rest is not supported") -> Key:
    """A key of which a single value means what is done here."""
    told = f"{value:g}: {why}"
    return Key(value, lambda text: _one_of(float(text), (float(value),)), told)


def _required(value: float, default: float, why: str) -> Key:
    """The same, but darknet's default is another value, so that it has to be said."""
    return _only(value, why)._replace(default=default)


def _never(text: str) -> Any:
    raise ValueError


_UNUSED = Key(None, str, "anything", unused=True)


def _least(value: Any, least: float) -> Any:
    if not least <= value < math.inf:
        raise ValueError
    return value


def _items(text: str) -> list[str]:
    return text.rstrip(",").split(",")


def _one_of(value: Any, values: tuple) -> Any:
    if value not in values:
        raise ValueError
    return value


def _choice(words: tuple[str, ...]) -> str:
    return f"one of {', '.join(words)}"


def _unused(names: str) -> dict[str, Key]:
    return dict.fromkeys(names.split(), _UNUSED)


def _off(names: str) -> dict[str, Key]:
    """Keys of what there is not here, which a file may say to be off."""
    return dict.fromkeys(names.split(), _only(0))


_STRIDES = {"stride": _count(1), "stride_x": _count(None), "stride_y": _count(None)}
_STREAMS = _unused("stream wait_stream")
_OF_ALL = {
    "stopbackward": _only(0, "delete the line; trick=[freeze_backbone] holds a backbone still"),
    **_off("onlyforward dont_update burnin_update train_only_bn dontload dontloadscales"),
    "learning_rate": _only(1, "one learning rate serves all layers, optimizer.lr"),
}
_POOL = {**_STRIDES, "size": _count(None), "padding": _whole(0)._replace(default=None)}
_NET = {
    "width": _count(None),
    "height": _count(None),
    "channels": _required(3, 0, "pictures have three"),
    "letter_box": _word("0", "1"),
    "time_steps": _only(1),
    **_off("track contrastive unsupervised"),
    **_unused(
        "batch subdivisions sequential_subdivisions momentum decay adam B1 B2 eps learning_rate "
        "learning_rate_min policy steps scales seq_scales step scale gamma power burn_in "
        "max_batches sgdr_cycle sgdr_mult ema_alpha loss_scale try_fix_nan weights_reject_freq "
        "equidistant_point badlabels_rejection_percentage num_sigmas_reject_badlabels "
        "dynamic_minibatch resize_step max_crop min_crop angle aspect saturation exposure hue flip "
        "blur gaussian_noise mixup cutmix mosaic mosaic_bound label_smooth_eps adversarial_lr "
        "attention augment_speed contrastive_jit_flip contrastive_color max_chart_loss "
        "show_receptive_field optimized_memory workspace_size_limit_MB use_cuda_graph"
    ),
}
_HEAD = {
    "classes": _count(20),
    **_unused("jitter resize random max show_details"),
    **_off("focal_loss"),
}
_YOLO = {
    **_HEAD,
    "num": _count(1),
    "mask": _indices(),
    "anchors": _numbers(),
    "scale_x_y": _number(1.0, 0.01),
    "ignore_thresh": _number(0.5),
    "truth_thresh": _only(1),
    "iou_thresh": _number(1.0),
    "iou_loss": _word("mse", "ciou", "giou", "diou", "iou"),
    "iou_normalizer": _number(None, 1e-9),
    "obj_normalizer": _number(1.0, 1e-9),
    "cls_normalizer": _only(1, "darknet uses it with counters_per_class alone"),
    "delta_normalizer": _only(1),
    "max_delta": _number(None, 1e-9),
    "counters_per_class": Key(None, _never, "no such line: trick=[class_weights] weights classes"),
    "label_smooth_eps": _number(0.0),
    "nms_kind": _word("default", "greedynms", "diounms"),
    "beta_nms": _number(0.6, 1e-9),
    "iou_thresh_kind": _word("iou"),
    **_off("new_coords objectness_smooth"),
}
_SCALES = {
    "coord_scale": _number(1.0, 1e-9),
    "object_scale": _number(1.0, 1e-9),
    "noobject_scale": _number(1.0),
    "class_scale": _number(1.0, 1e-9),
}
_IOU = "the confidence that is learnt is the IoU"
_REGION = {
    **_HEAD,
    **_SCALES,
    "num": _count(1),
    "anchors": _numbers(),
    "thresh": _number(0.5),
    "coords": _only(4),
    "softmax": _required(1, 0, "classes exclude each other"),
    "rescore": _required(1, 0, _IOU),
    "bias_match": _required(1, 0, "an object is given to the anchor of its shape"),
    **_off("log sqrt classfix background"),
    **_unused("absolute mask_scale"),  # which no line of src/region_layer.c reads
}
_DETECTION = {
    **_HEAD,
    **_SCALES,
    "classes": _count(1),
    "num": _count(1),
    "side": _count(7),
    "coords": _required(4, 1, "a box has four numbers"),
    "rescore": _required(1, 0, _IOU),
    "sqrt": _required(1, 0, "roots of the sides are learnt"),
    "random": _only(0, "the box that fits best is responsible from the start"),
    **_off("softmax forced reorg"),
}
_ACTIVATION = {"activation": _word(*ACTIVATIONS)}
_LOGISTIC = {"activation": _ACTIVATION["activation"]._replace(default="logistic")}
_FROM = {"from": _indices(), **_ACTIVATION}
KINDS: Mapping[str, Mapping[str, Key]] = {
    "net": _NET,
    "convolutional": {
        **_STRIDES,
        **_LOGISTIC,
        **_STREAMS,
        "filters": _count(1),
        "size": _count(1),
        "pad": _whole(0),
        "padding": _whole(0),
        "dilation": _count(1),
        "groups": _count(1),
        "batch_normalize": _word("0", "1")._replace(
            expected="0 or 1; for 2 write 1 and choose norm=cmbn"
        ),
        "cbn": _only(0, "set batch_normalize=1 and choose norm=cmbn"),
        **_off("antialiasing binary xnor bin_output sway rotate stretch stretch_sway flipped dot"),
        **_off("grad_centr reverse coordconv assisted_excitation"),
    },
    "maxpool": {**_POOL, **_off("maxpool_depth antialiasing maxpool_zero_nonmax")},
    "local_avgpool": _POOL,
    "avgpool": {},
    "upsample": {"stride": _count(2), "scale": _number(1.0, 1e-9)},
    "route": {"layers": _indices(), "groups": _count(1), "group_id": _whole(0), **_STREAMS},
    "shortcut": {
        **_FROM,
        "weights_type": _word("none", "per_layer", "per_feature", "per_channel"),
        "weights_normalization": _word("none", "relu", "avg_relu", "softmax"),
    },
    "sam": _FROM,
    "scale_channels": {**_FROM, **_off("scale_wh")},
    "reorg": {"stride": _count(1), **_off("reverse")},
    "reorg3d": {"stride": _count(1), **_off("reverse")},
    "dropout": {"probability": _number(0.2), **_off("dropblock")},
    "activation": _ACTIVATION,
    "empty": {},
    "connected": {"output": _count(1), "batch_normalize": _word("0", "1"), **_LOGISTIC},
    "local": {
        "filters": _count(1),
        "size": _required(3, 1, "other windows are not supported"),
        "stride": _only(1),
        "pad": _required(1, 0, "the map keeps its size"),
        **_LOGISTIC,
    },
    "cost": _unused("type scale ratio"),
    "yolo": _YOLO,
    "region": _REGION,
    "detection": _DETECTION,
}
HEADS = ("yolo", "region", "detection")


@dataclass(frozen=True)
class Section:
    """A section whose values are all there: those that the file says, and darknet's defaults."""

    name: str
    line: int
    values: Mapping[str, Any]
    lines: Mapping[str, int]  # of the keys that the file says

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def said(self, *keys: str) -> list[str]:
        """Those of the keys that the file says."""
        return [key for key in keys if key in self.lines]

    def refusal(self, told: str, key: str | None = None) -> ValueError:
        """An error that names the line, of the key if the file says it."""
        line = self.lines.get(key or "", self.line)
        place = f"{key}={shown(self[key])}: " if key else ""
        return ValueError(f"line {line} of the cfg file: [{self.name}] {place}{told}")


def shown(value: Any) -> str:
    """A value as a file would say it."""
    if isinstance(value, tuple):
        return ",".join(map(shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def parsed(text: str) -> list[Section]:
    """The sections of a file, `[net]` first.

    Raises:
        ValueError: names the line, what stands there and what is supported.
    """
    found = _found(text)
    for place, (name, line, _) in enumerate(found):
        if (name == "net") != (place == 0):
            raise ValueError(f"line {line} of the cfg file: [{name}]: expected one [net], first")
    if not found:
        raise ValueError("the cfg file is empty: expected [net] and layers")
    return [_section(*one) for one in found]


def compact(text: str) -> str:
    """The same on one line, `NUMBER:LINE|NUMBER:LINE`, without what darknet leaves out.

    So it may stand in many places of a config; it is read like the file.
    """
    return "|".join(f"{number}:{line}" for number, line in _lines(text) if line)


def unused_keys(sections: list[Section]) -> dict[str, list[str]]:
    """Keys that the file says and that are darknet's own business, by section."""
    found: dict[str, list[str]] = {}
    for section in sections:
        keys = found.setdefault(section.name, [])
        keys += [k for k in section.lines if KINDS[section.name][k].unused and k not in keys]
    return {name: keys for name, keys in found.items() if keys}


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Each line with its number, as darknet strips it: no blanks, comments empty."""
    if re.match(r"\d+:", text):
        parts = (one.partition(":") for one in text.split("|"))
        yield from ((int(number), line) for number, _, line in parts)
        return
    for number, line in enumerate(text.splitlines(), 1):
        stripped = re.sub(r"\s", "", line)
        yield number, "" if stripped.startswith(("#", ";")) else stripped


def _found(text: str) -> list[tuple[str, int, dict[str, tuple[int, str]]]]:
    """Name, line, and the lines and texts of the keys of each section."""
    found: list[tuple[str, int, dict[str, tuple[int, str]]]] = []
    for number, line in _lines(text):
        place = f"line {number} of the cfg file: "
        name = re.fullmatch(r"\[(\w+)\]", line)
        key, equals, value = line.partition("=")
        if name:
            found.append((_known(name[1], place), number, {}))
        elif line and not (found and key and equals and value and not set(line) & {"$", "|"}):
            raise ValueError(f"{place}found {line!r}, expected [SECTION] and below it KEY=VALUE")
        elif line and key in found[-1][2]:
            raise ValueError(f"{place}{key} stands in line {found[-1][2][key][0]} already")
        elif line:
            found[-1][2][key] = (number, value)
    return found


def _known(name: str, place: str) -> str:
    name = ALIASES.get(name, name)
    if name not in KINDS:
        raise ValueError(f"{place}[{name}] is not supported. Supported: {', '.join(KINDS)}")
    return name


def _section(name: str, line: int, texts: Mapping[str, tuple[int, str]]) -> Section:
    kind = {**KINDS[name], **(_OF_ALL if name not in ("net", *HEADS) else {})}
    values = {key: known.default for key, known in kind.items()}
    for key, (number, text) in texts.items():
        place = f"line {number} of the cfg file: [{name}] {key}={text}: "
        if key not in kind:
            raise ValueError(f"{place}there is no such key here. Supported: {', '.join(kind)}")
        try:
            values[key] = kind[key].read(text)
        except ValueError:
            raise ValueError(f"{place}expected {kind[key].expected}") from None
    section = Section(name, line, values, {key: number for key, (number, _) in texts.items()})
    for key in kind:
        _check_default(section, key, kind[key])
    return section


def _check_default(section: Section, key: str, known: Key) -> None:
    """Refuse a default of darknet's that is not supported, where the file does not say better."""
    if key in section.lines or known.default is None or known.unused:
        return
    try:
        known.read(shown(known.default))
    except ValueError:
        raise section.refusal(f"darknet's default. Expected {known.expected}", key) from None
