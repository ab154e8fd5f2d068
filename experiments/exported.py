"""Measures how long ONNX files take for pictures, in onnxruntime, beside the PyTorch they are of.

Each family has random weights, with logits spread as those of a trained one, and a score threshold
that `--candidates` of its boxes a picture exceed. Everything from uint8 to detections is timed, the
variants in turns; ratios refer to PyTorch in float32. PyTorch runs as in `detectors predict`:
batch norms folded, channels last, and in bf16 too where the processor multiplies it.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

import detectors
from detectors.data.augment.transforms import Stretch
from detectors.detector import Detector
from detectors.engine.console import console
from detectors.engine.hardware import has_bf16
from detectors.export.description import Description, texts
from detectors.export.network import ExportedNetwork
from detectors.export.running import OnnxDetector
from detectors.export.writing import as_onnx
from detectors.measuring import seconds_in_turn
from detectors.structures import Detections
from experiments.steps import FAMILIES, SEED, examples, side_of

CPU = torch.device("cpu")
REST, PAUSE = "rest", 0.05  # seconds in which onnxruntime's threads stop looking for more work
CLASSES = 80


class Row(NamedTuple):
    """What one variant of a family took."""

    family: str
    threads: int
    variant: str
    seconds: float  # the median, of all pictures of a batch
    ratio: float  # to PyTorch in float32
    detections: int


def main(argv: Sequence[str] | None = None) -> list[Row]:
    """Print a table, and return its rows."""
    options = arguments(argv)
    rows = [row for family in options.models for row in compared(family, options)]
    console().print(table(rows))
    return rows


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmark exported",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--models", nargs="+", default=FAMILIES, metavar="NAME",
        help=f"files of conf/model (default: {', '.join(FAMILIES)})")  # fmt: skip
    add("--words", nargs="+", default=[], metavar="WORD", help="of each of them, as size=small")
    add("--size", type=int, default=320, help="height and width in pixels (default: 320)")
    add("--batch", type=int, default=1, help="images per batch (default: 1)")
    add("--threads", type=int, nargs="+", default=[1, 2], help="of both, in turn (default: 1 2)")
    add("--candidates", type=int, default=300, help="above the threshold (default: 300)")
    add("--repeats", type=int, default=10, help="timed rounds, after an untimed one (default: 10)")
    return parser.parse_args(argv)


def compared(family: str, options: argparse.Namespace) -> Iterator[Row]:
    """The rows of a family, by number of threads."""
    torch.manual_seed(SEED)
    side = side_of(family, options.size)
    detector = detectors.build(family, options.words, num_classes=CLASSES, image_size=side).eval()
    images, _ = examples(options.batch, side, CLASSES, CPU)
    spread(detector, images)
    frames = whole(images)
    limit(detector, images, frames, options.candidates)
    start = time.process_time()
    content = onnx(detector, side)
    taken = time.process_time() - start
    console().print(f"{family}: {len(content) / 1e6:.0f} MB, exported in {taken:.0f} CPU s")
    for threads in options.threads:
        torch.set_num_threads(threads)
        calls = variants(detector, OnnxDetector(content, threads), images, frames)
        found = {name: int(call().valid.sum()) for name, call in calls.items()}  # warms up too
        title = f"{family}, {threads} threads:".ljust(24)
        rounds = track(range(options.repeats), title, console=console())
        seconds = seconds_in_turn({**calls, REST: partial(time.sleep, PAUSE)}, rounds, CPU)
        del seconds[REST]
        base, *_ = medians = [statistics.median(some) for some in seconds.values()]
        for name, median in zip(seconds, medians, strict=True):
            yield Row(family, threads, name, median, median / base, found[name])


@torch.no_grad()
def spread(detector: Detector, images: Tensor) -> None:
    """Batch norms get the statistics of these images, the head weights that keep the variance."""
    for layer in detector.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    for name, parameter in detector.head.named_parameters():
        if parameter.dim() > 1:  # rectifiers take half of the variance
            nn.init.normal_(parameter, std=(2 / parameter[0].numel()) ** 0.5)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    detector.train().candidates(images, whole(images))
    detector.eval()


def whole(images: Tensor) -> Tensor:
    """[B, 4] Frames that cover the images."""
    return torch.tensor([[0.0, 0.0, *images.shape[:1:-1]]]).repeat(len(images), 1)


@torch.no_grad()
def limit(detector: Detector, images: Tensor, frames: Tensor, count: int) -> None:
    """Set the score threshold so that `count` boxes a picture exceed it, if there are so many."""
    best = detector.candidates(images, frames).scores.amax(dim=-1).flatten()
    rank = min(count * len(images) + 1, len(best))
    between: Any = float(best.topk(rank).values[-2:].mean())
    detector.postprocess.score_threshold = between


def onnx(detector: Detector, side: int) -> bytes:
    """The ONNX file of a detector, with its suppression in it."""
    names = tuple(map(str, range(CLASSES)))
    told = Description(names, tuple(range(CLASSES)), Stretch(side), True, 32)
    return as_onnx(ExportedNetwork(detector, suppression=True), (side, side), texts(told))


def variants(
    detector: Detector, file: OnnxDetector, images: Tensor, frames: Tensor
) -> dict[str, Callable[[], Detections]]:
    """Calls that give detections, PyTorch in float32 first."""
    fused = detector.fused(images).to(memory_format=torch.channels_last)
    ordered = images.contiguous(memory_format=torch.channels_last)
    calls = {"PyTorch, fp32": partial(_detect, fused, ordered, frames, False)}
    if has_bf16("cpu"):
        calls["PyTorch, bf16"] = partial(_detect, fused, ordered, frames, True)
    return {**calls, "ONNX, fp32": partial(file, images, frames)}


@torch.inference_mode()
def _detect(detector: Detector, images: Tensor, frames: Tensor, bf16: bool) -> Detections:
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        return detector(images, frames)


def table(rows: Sequence[Row]) -> Table:
    """Medians, and their ratios to PyTorch's in float32."""
    grid = Table("model", "threads", "variant", "ms", "ratio", "detections")
    for row in rows:
        grid.add_row(
            row.family,
            str(row.threads),
            row.variant,
            f"{1000 * row.seconds:.0f}",
            f"{row.ratio:.2f}",
            str(row.detections),
        )
    return grid
