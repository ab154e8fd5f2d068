"""Measures the images per second of our loader, with and without `data.cache=ram`.

It loads the pictures of BCCD with mosaic, mirroring and colour changes. Each loader first runs
through one untimed epoch, which starts the workers and fills the cache, then through whole epochs
for some seconds. The table also shows the processor time that one process takes per sample, with
one more stage of the work in each row; decoding is missing where the cache replaces it. This time
limits the rate: workers with a core each cannot deliver more images per second than their number
divided by the sum of the last two rows.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import cv2
from rich.table import Table

from detectors.config.compose import compose
from detectors.config.instantiate import instantiate
from detectors.data.collate import collated
from detectors.data.dataset import DetectionDataset
from detectors.data.module import DetectionData
from detectors.engine.console import console


def main(argv: Sequence[str] | None = None) -> dict[str, dict[str, float]]:
    """Measure what the command line describes: images per second and milliseconds per sample."""
    options = arguments(argv)
    results = {
        name: measured(data(options, cache), options.seconds)
        for name, cache in (("uncached", "null"), ("cached", "ram"))
    }
    console().print(table(results))
    return results


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmark loader",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data", default="bccd", help="a file of conf/data (default: bccd)")
    add("--size", type=int, default=320, help="height and width in pixels (default: 320)")
    add("--batch", type=int, default=16, help="images per batch (default: 16)")
    add("--workers", type=int, default=2, help="worker processes (default: 2)")
    add("--seconds", type=float, default=5.0, help="time measured for each loader (default: 5)")
    add("words", nargs="*", default=["resize=stretch", "augment=color", "trick=[mosaic]"],
        help="overrides (default: resize=stretch augment=color trick=[mosaic])")  # fmt: skip
    return parser.parse_args(argv)


def data(options: argparse.Namespace, cache: str) -> DetectionData:
    words = [
        f"data={options.data}",
        f"image_size={options.size}",
        f"data.batch_size={options.batch}",
        f"data.num_workers={options.workers}",
        f"data.cache={cache}",
    ]
    return instantiate(compose([*words, *options.words]), "data")


def measured(module: DetectionData, seconds: float) -> dict[str, float]:
    """Images per second of the loader, and milliseconds per sample in one process by stage."""
    loader = module.train_dataloader()
    for _ in loader:
        pass
    start, images, epoch = time.perf_counter(), 0, 0
    while not images or time.perf_counter() - start < seconds:
        epoch += 1
        loader.sampler.set_epoch(epoch)
        images += sum(len(batch.images) for batch in loader)
    rate = images / (time.perf_counter() - start)
    return {"images/s": rate} | {name: milliseconds(call) for name, call in kinds(loader).items()}


def kinds(loader: Any) -> dict[str, Callable[[int], object]]:
    """Calls that do the work for picture k up to some stage, by the name of the stage."""
    whole = loader.dataset
    cv2.setNumThreads(0)  # as in the workers
    samples = [whole[0, k] for k in range(16)]
    build = partial(DetectionDataset, whole.source, resize=whole.resize, seed=whole.seed)
    plain = build(transforms={}, cache=whole.cache if whole.resize_first else None)
    single = build(transforms=whole.transforms, cache=whole.cache)
    return {
        "decoding": lambda k: whole.source.image(k % len(whole)),
        "and resizing": lambda k: plain[0, k],
        "and transforms": lambda k: single[0, k],
        "and mixes": lambda k: whole[0, k],
        "share of a batch": lambda k: collated(samples) if k % 16 == 0 else None,
    }


def milliseconds(call: Callable[[int], object], count: int = 48) -> float:
    """Mean processor time of a call over pictures 0, 1, ..."""
    start = time.process_time()
    for k in range(count):
        call(k)
    return 1000 * (time.process_time() - start) / count


def table(results: dict[str, dict[str, float]]) -> Table:
    grid = Table("", *results)
    for name in next(iter(results.values())):
        unit = "" if name == "images/s" else "one process, ms: "
        grid.add_row(unit + name, *(f"{found[name]:.2f}" for found in results.values()))
    return grid
