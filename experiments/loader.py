"""Measures the images per second of our loader, with and without `data.cache=ram`.

It loads the pictures of BCCD with mosaic, mirroring and colour changes. Each loader first runs
through one untimed epoch, which starts the workers and fills the cache, then through whole epochs
for some seconds. Without the cache, what workers keep of the pictures they have read is forgotten
when an epoch begins: so few pictures would else be kept for good. The table also shows the
processor time that one process takes per sample, with one more stage of the work in each row, over
the samples that share what they keep, in their order; decoding is missing where the cache replaces
it. This time limits the rate: workers with a core each cannot deliver more images per second than
their number divided by the sum of the last two rows. The pictures that are decoded for a sample are
counted.
"""

import argparse
import copy
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np
from rich.table import Table

from detectors.config.compose import compose
from detectors.config.instantiate import instantiate
from detectors.data.cache import Cache
from detectors.data.collate import collated
from detectors.data.dataset import DetectionDataset
from detectors.data.module import DetectionData
from detectors.data.recent import Recent
from detectors.data.shared_recent import SharedRecent
from detectors.data.sources.base import Source, reduced_image
from detectors.engine.console import console

MS = "one process, ms: "


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
        forget(loader.dataset)
        images += sum(len(batch.images) for batch in loader)
    rates = {"images/s": images / (time.perf_counter() - start)}
    cv2.setNumThreads(0)  # as in the workers
    keys = shared(loader)
    times = {}
    for name, call in kinds(loader.dataset).items():
        forget(loader.dataset)
        times[MS + name] = milliseconds(call, keys)
    forget(loader.dataset)
    return rates | times | {"pictures decoded per sample": decoded(loader.dataset, keys)}


def forget(whole: DetectionDataset) -> None:
    if isinstance(whole.cache, SharedRecent):
        whole.cache.forget()


def shared(loader: Any) -> list[tuple[int, ...]]:
    """The keys of an epoch that one memory serves: of all workers, or of the first one."""
    keys, size = list(loader.sampler), loader.batch_size
    if isinstance(loader.dataset.cache, SharedRecent):
        return keys
    starts = range(0, len(keys), size * max(loader.num_workers, 1))
    return [key for start in starts for key in keys[start : start + size]]


def kinds(whole: DetectionDataset) -> dict[str, Callable[[tuple[int, ...]], object]]:
    """Calls that do the work for a key up to some stage, by the name of the stage."""
    samples = [whole[0, k] for k in range(16)]
    cache = whole.cache if isinstance(whole.cache, Cache) else None
    build = partial(DetectionDataset, whole.source, resize=whole.resize, seed=whole.seed)
    build = partial(build, reduced=whole.reduced)
    plain = build(transforms={}, cache=cache if whole.resize_first else None)
    single = build(transforms=whole.transforms, cache=cache)
    return {
        "decoding": lambda key: whole.source.image(key[1] % len(whole)),
        "and resizing": lambda key: plain[key],
        "and transforms": lambda key: single[key],
        "and mixes": lambda key: whole[key],
        "share of a batch": lambda key: collated(samples) if key[1] % 16 == 0 else None,
    }


def milliseconds(
    call: Callable[[tuple[int, ...]], object], keys: Sequence[tuple[int, ...]]
) -> float:
    """Mean processor time of a call."""
    start = time.process_time()
    for key in keys:
        call(key)
    return 1000 * (time.process_time() - start) / len(keys)


def decoded(whole: DetectionDataset, keys: Sequence[tuple[int, ...]]) -> float:
    """Mean number of pictures that are read for a sample."""
    source = Counted(whole.source)
    fresh = copy.copy(whole)
    fresh.source = source
    if isinstance(whole.cache, Recent):
        fresh.cache = Recent(whole.cache.sizes)
    for key in keys:
        fresh[key]
    return source.reads / len(keys)


class Counted:
    """A source that counts how many pictures are read."""

    def __init__(self, source: Source) -> None:
        self.source, self.annotations, self.reads = source, source.annotations, 0

    def __len__(self) -> int:
        return len(self.source)

    def image(self, index: int) -> np.ndarray:
        self.reads += 1
        return self.source.image(index)

    def reduced(self, index: int, least: tuple[int, int]) -> np.ndarray:
        self.reads += 1
        return reduced_image(self.source, index, least)


def table(results: dict[str, dict[str, float]]) -> Table:
    grid = Table("", *results)
    for name in next(iter(results.values())):
        grid.add_row(name, *(f"{found[name]:.2f}" for found in results.values()))
    return grid
