"""Races training steps and inference of each family, and compares them with the card's peak."""

import argparse
import copy
import re
from collections.abc import Mapping
from typing import Any

import torch

from detectors.engine.operations import operations
from detectors.measuring import processor
from experiments import steps

# TFLOP/s of dense matrix products in bf16, by what the name of the card ends with.
PEAKS = {
    r"H200": 989,  # NVIDIA H200 data sheet, SXM: 1,979 with sparsity, which doubles it
    r"H100 80GB HBM3": 989,  # NVIDIA H100 data sheet, SXM: 1,979 with sparsity
    r"A100.*": 312,  # NVIDIA A100 data sheet, SXM and PCIe
    r"L4": 121,  # NVIDIA L4 data sheet: 242 with sparsity
    r"RTX 4090": 165,  # NVIDIA Ada architecture white paper, with sums in float32
}
PASSES = {"train": 3, "infer": 1}  # a backward pass takes twice the operations of a forward pass


def raced(family: str, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Ours, eager and compiled, beside torchvision's where it has the model.

    Returns:
        `side` of the images in pixels, forward `operations` for one image, and under "train" and
        "infer", as asked for, what `steps.compare` measures of each variant, `images_per_second`
        and `share_of_peak`, in [0, 1]: None in float32 or if the peak is not known. Operations are
        those that `detectors show` counts, three times as many in training, and those of ours for
        torchvision's too; a second stage counts for all regions that it may get in evaluation.
    """
    variants = steps.prepare(family, race_options(family, options), device)
    side = steps.side_of(family, options.size)
    ours: Any = next(one.model for name, one in variants.items() if name.startswith("ours,"))
    forward = operations(copy.deepcopy(ours).eval(), side, side)["all"]
    peak = options.peak or peak_of(processor(device))
    found: dict[str, Any] = {"side": side, "operations": forward}
    for work in options.work:
        measured = steps.compare(variants, work, options.repeats, device, f"{family}, {work}")
        for name, one in measured.items():
            one["images_per_second"] = options.batch / one["seconds"]
            teraflops = PASSES[work] * forward * one["images_per_second"] / 1e12
            known = peak is not None and variants[name].format == "bf16"
            one["share_of_peak"] = teraflops / peak if known else None
        found[work] = measured
    return found


def race_options(family: str, options: argparse.Namespace) -> argparse.Namespace:
    """Those of `experiments.steps` for a family."""
    words = ["--words", *options.words] if options.words else []
    compiled = ["--compile"] if options.compile else []
    sizes = ["--size", str(options.size), "--batch", str(options.batch)]
    formats = ["--formats", *options.formats]
    return steps.arguments(["--models", family, *words, *compiled, *sizes, *formats])


def peak_of(card: str, peaks: Mapping[str, float] = PEAKS) -> float | None:
    """TFLOP/s of a card in bf16 by its name; None where it is not known."""
    return next((n for name, n in peaks.items() if re.search(rf"\b{name}$", card)), None)
