"""Measures time and memory of training steps and inference, ours and others', in the same format.

If torchvision has the model, both have the same weights and see the same images and objects, in
float32 and, where the processor multiplies it, in bf16 with channels last. Theirs includes its own
transform, which here resizes by a factor of one, and its own post-processing, whose shapes depend
on the data. Ours includes all of `Detector.loss` and `Detector.forward`, from uint8 to detections;
for inference batch norms are folded, as in `detectors predict`. A training step is the forward
pass, the losses and the backward pass, without an optimiser. The variants take turns, so that
other work of the machine affects all of them alike. Ratios refer to the first variant in the same
format: torchvision's, or ours for families that torchvision lacks.
"""

import argparse
import copy
import datetime
import importlib
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn
from torchvision.models import detection as torchvision_detection

import detectors
from detectors.detector import Detector
from detectors.engine.console import console
from detectors.engine.hardware import has_bf16, torch_device
from detectors.engine.run_folder import environment, write_json
from detectors.layers.progress import tell
from detectors.measuring import peak_bytes, processor, seconds_in_turn
from detectors.structures import Progress, Targets
from detectors.weights.torchvision import from_torchvision

CLASSES = 91  # as torchvision counts COCO's
OBJECTS = (8, 16)  # fewest and most in an image
SEED = 0


class Shared(NamedTuple):
    """A model that both libraries have."""

    theirs: Callable[..., nn.Module]
    background: int  # 1 if torchvision counts background as a class, else 0; we never do
    logits: str  # torchvision's module whose output decides the number of candidates
    spread: float  # standard deviation of these logits that yields about a hundred candidates
    side: int | None = None  # of the images, if the model has one size only
    words: tuple[str, ...] = ()  # overrides that make ours equal to theirs


SHARED = {
    "ssd300": Shared(
        torchvision_detection.ssd300_vgg16,
        background=1,
        logits="head.classification_head",
        spread=0.6,
        side=300,
        words=("assigner=best_prior",),
    ),
    "retinanet": Shared(
        partial(torchvision_detection.retinanet_resnet50_fpn, detections_per_img=100),
        background=0,
        logits="head.classification_head.cls_logits",
        spread=0.5,
    ),
    "fcos": Shared(
        torchvision_detection.fcos_resnet50_fpn,
        background=0,
        logits="head.classification_head.cls_logits",
        spread=0.6,
    ),
    "faster_rcnn": Shared(
        torchvision_detection.fasterrcnn_resnet50_fpn,
        background=1,
        logits="roi_heads.box_predictor.cls_score",
        spread=0.6,
    ),
}
FAMILIES = ("yolov1", "yolov2", "yolov3", "yolov4", "ssd300", "retinanet", "faster_rcnn",
            "centernet", "fcos")  # fmt: skip


class Work(NamedTuple):
    """A model and what is timed of it."""

    model: nn.Module
    loss: Callable[[], Tensor]  # of the training images; called while the model trains
    detect: Callable[[], Tensor]  # the number of detections


# From the name of the family, images [B, 3, H, W] uint8 in the memory format, their objects and the
# number of classes.
Peer = Callable[[str, Tensor, Targets, int], Work]


class Variant(NamedTuple):
    """One implementation in one number format."""

    format: str  # of FORMATS
    model: nn.Module
    train: Callable[[], Tensor]  # leaves gradients, returns the loss
    infer: Callable[[], Tensor]  # returns the number of detections


FORMATS = {"fp32": torch.contiguous_format, "bf16": torch.channels_last}


def side_of(name: str, side: int) -> int:
    """Height and width of the images in pixels: the model's own where it has one size only."""
    shared = SHARED.get(name)
    return (shared and shared.side) or side


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the benchmark that the command line describes, and return what is written as json."""
    options = arguments(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch_device(options.device)
    results = {}
    for name in options.models:
        variants = prepare(name, options, device)
        results[name] = {
            work: compare(variants, work, options.repeats, device, f"{name}, {work}")
            for work in ("train", "infer")
        }
    console().print(table(results))
    report = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "processor": processor(device),
        "settings": vars(options),
        **environment(),
        "results": results,
    }
    if options.json:
        write_json(Path(options.json), report)
    return report


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmark steps",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--models", nargs="+", default=FAMILIES, metavar="NAME",
        help=f"files of conf/model (default: {', '.join(FAMILIES)})")  # fmt: skip
    add("--size", type=int, default=320, help="height and width in pixels (default: 320)")
    add("--batch", type=int, default=4, help="images per batch (default: 4)")
    add("--threads", type=int, default=2, help="threads of torch; 0: its own choice (default: 2)")
    add("--repeats", type=int, default=10, help="timed rounds, after an untimed one (default: 10)")
    add("--device", default="cpu", help="cpu, gpu or auto (default: cpu)")
    add("--compile", action="store_true", help="time ours compiled too, by torch.compile")
    add("--formats", nargs="+", choices=FORMATS, default=list(FORMATS),
        help="bf16 only where the processor multiplies it (default: both)")  # fmt: skip
    add("--words", nargs="+", default=[], metavar="WORD",
        help="overrides of ours, as size=small; it then races without torchvision's")  # fmt: skip
    add("--beside", metavar="MODULE:FUNCTION", default=[], nargs="+",
        help="also time another library's: a function of (name, images, targets, classes) that "
        "returns a model, a call that gives the loss and a call that gives the number of "
        "detections")  # fmt: skip
    add("--json", metavar="FILE", help="where to write all measurements")
    return parser.parse_args(argv)


def prepare(name: str, options: argparse.Namespace, device: torch.device) -> dict[str, Variant]:
    """The variants of a family; ours and torchvision's have the same weights."""
    torch.manual_seed(SEED)
    torch.compiler.reset()  # else only the first eight detectors are compiled, others run eager
    shared = None if options.words else SHARED.get(name)
    size = side_of(name, options.size)
    classes = CLASSES - (shared.background if shared else 0)
    images, targets = examples(options.batch, size, classes, device)
    peers: dict[str, Peer] = {}
    if shared is None:
        ours = detectors.build(name, options.words, num_classes=classes, image_size=size)
        ours.to(device)
    else:
        sides = {} if shared.side else {"min_size": size, "max_size": size}
        theirs = shared.theirs(weights=None, weights_backbone=None, num_classes=CLASSES, **sides)
        liven(theirs.to(device), shared, images / 255)
        peers["torchvision"] = partial(of_torchvision, theirs, shared.background)
        ours = detectors.build(name, shared.words, num_classes=classes)
        ours.load_state_dict(from_torchvision(theirs.state_dict()), strict=False)
        ours.to(device)
    for place in options.beside:
        peers[place] = named(place)
    tell(ours, Progress(images_seen=len(images), step=0, steps=1))
    peers["ours"] = partial(of_ours, ours, False)
    if options.compile:
        peers["ours compiled"] = partial(of_ours, ours, True)
    formats = [f for f in options.formats if f == "fp32" or has_bf16(device.type)]
    return {
        f"{peer}, {kind}": variant(make, name, images, targets, classes, kind)
        for kind in formats
        for peer, make in peers.items()
    }


def named(place: str) -> Peer:
    """The function that `--beside` names.

    Raises:
        ValueError: there is none.
    """
    module, _, function = place.partition(":")
    try:
        found: Peer = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"--beside {place}: expected MODULE:FUNCTION ({error})") from error
    return found


def variant(
    make: Peer, name: str, images: Tensor, targets: Targets, classes: int, kind: str
) -> Variant:
    """What a peer makes, in a number format and its memory format."""
    ordered = images.contiguous(memory_format=FORMATS[kind])
    work = make(name, ordered, targets, classes)
    work.model.to(memory_format=FORMATS[kind])
    autocast = partial(torch.autocast, images.device.type, torch.bfloat16, enabled=kind == "bf16")

    def train() -> Tensor:
        with autocast():
            total = work.loss()
        total.backward()
        return total.detach()

    def infer() -> Tensor:
        with autocast():
            return work.detect()

    return Variant(kind, work.model, train, infer)


def examples(batch: int, size: int, classes: int, device: torch.device) -> tuple[Tensor, Targets]:
    """Smooth random images [B, 3, size, size] uint8, with objects of `size / 20` to `size`."""
    coarse = torch.rand(batch, 3, size // 16, size // 16)
    images = F.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1)
    sides = size * 20 ** (torch.rand(batch, OBJECTS[1], 2) - 1)
    corner = torch.rand(batch, OBJECTS[1], 2) * (size - sides)
    count = torch.randint(OBJECTS[0], OBJECTS[1] + 1, (batch, 1))
    targets = Targets(
        boxes=torch.cat([corner, corner + sides], dim=-1),
        labels=torch.randint(classes, (batch, OBJECTS[1])),
        valid=torch.arange(OBJECTS[1]) < count,
        ignore=torch.zeros(batch, OBJECTS[1], dtype=torch.bool),
    )
    return (images * 255).byte().to(device), Targets(*(field.to(device) for field in targets))


@torch.no_grad()
def liven(model: nn.Module, shared: Shared, images: Tensor) -> None:
    """Fit a new torchvision model to `images`, so that it finds about as much as a trained one.

    Batch norms get the statistics of these images, and the class logits get `shared.spread`.
    """
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    outputs: list[Tensor] = []
    logits = model.get_submodule(shared.logits)
    model.get_submodule("backbone")(model.get_submodule("transform")(list(images))[0].tensors)
    handle = logits.register_forward_hook(lambda *call: outputs.append(call[-1].flatten()))
    model.eval()(list(images))
    handle.remove()
    growth = shared.spread / torch.cat(outputs).std()
    for layer in logits.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.weight *= growth


def of_torchvision(
    model: nn.Module, background: int, name: str, images: Tensor, targets: Targets, classes: int
) -> Work:
    """Torchvision's, a copy, which takes each image as a float tensor in [0, 1]."""
    model = copy.deepcopy(model)
    pictures = list(images / 255)
    objects = [
        {"boxes": boxes[valid], "labels": labels[valid] + background}
        for boxes, labels, valid in zip(*targets[:3], strict=True)
    ]

    def loss() -> Tensor:
        return torch.stack(list(model(pictures, objects).values())).sum()

    def detect() -> Tensor:
        return torch.tensor(sum(len(found["boxes"]) for found in model(pictures)))

    return Work(model, loss, detect)


def of_ours(
    model: Detector, compiled: bool, name: str, images: Tensor, targets: Targets, classes: int
) -> Work:
    """Ours, a copy, and for inference one with its batch norms folded."""
    model = copy.deepcopy(model)
    # Folded on the CPU: with a GPU's TF32 features may differ by more than the check allows.
    try:
        fused = copy.deepcopy(model).cpu().fused(images[:1].cpu()).to(images.device)
    except ValueError as reason:  # as predict does
        console().print(f"{name}: {reason}")
        fused = copy.deepcopy(model).eval()
    taught, asked = model.loss, fused.forward
    if compiled:
        taught, asked = (torch.compile(each, dynamic=False) for each in (taught, asked))

    def loss() -> Tensor:
        return torch.stack(list(taught(images, targets).values())).sum()

    fused.to(memory_format=_layout(images))
    return Work(model, loss, lambda: asked(images).valid.sum())


def _layout(images: Tensor) -> torch.memory_format:
    last = images.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def compare(
    variants: dict[str, Variant], work: str, repeats: int, device: torch.device, title: str
) -> dict[str, dict[str, Any]]:
    """Measure each variant's `work`, "train" or "infer", beside the first in its format.

    Returns:
        By variant: `seconds` (the median), `ratio`, `all_seconds`, `bytes` or None, `parameters`,
        and the `outcome`, loss or number of detections, which shows that all compute the same.
    """
    for one in variants.values():
        one.model.train(work == "train")
    calls = {name: partial(once, one, work) for name, one in variants.items()}
    outcomes = {name: float(call()) for name, call in calls.items()}  # warms up too
    memory = {name: peak_bytes(call, device) for name, call in calls.items()}
    rounds = track(range(repeats), f"{title}:".ljust(20), console=console())
    seconds = seconds_in_turn(calls, rounds, device)
    medians = {name: statistics.median(some) for name, some in seconds.items()}
    base: dict[str, float] = {}
    for name, one in variants.items():
        base.setdefault(one.format, medians[name])
    return {
        name: {
            "seconds": medians[name],
            "ratio": medians[name] / base[one.format],
            "all_seconds": seconds[name],
            "outcome": outcomes[name],
            "bytes": memory[name],
            "parameters": sum(parameter.numel() for parameter in one.model.parameters()),
        }
        for name, one in variants.items()
    }


def once(variant: Variant, work: str) -> Tensor:
    """Do its `work` once: the loss of a training step, or the number of detections."""
    if work == "infer":
        with torch.inference_mode():
            return variant.infer()
    variant.model.zero_grad(set_to_none=True)
    return variant.train()


def table(results: dict[str, dict[str, dict[str, dict[str, Any]]]]) -> Table:
    """Medians, and their ratios to the first variant's in the same format."""
    grid = Table("model", "work", "variant", "ms", "ratio", "peak MB", "outcome", "parameters")
    for name, works in results.items():
        for work, variants in works.items():
            for variant, measured in variants.items():
                grid.add_row(
                    name,
                    work,
                    variant,
                    f"{1000 * measured['seconds']:.0f}",
                    f"{measured['ratio']:.2f}",
                    "?" if measured["bytes"] is None else f"{measured['bytes'] / 1e6:.0f}",
                    f"{measured['outcome']:.5g}",
                    f"{measured['parameters']:,}",
                )
            grid.add_section()
    return grid
