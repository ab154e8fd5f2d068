"""Measures speed. Each kind of measurement has options of its own, which `KIND --help` shows.

steps     training steps and inference of all families, compared with torchvision's
loader    images per second of the loader, with and without a cache, and what limits them
latency   milliseconds per picture of trained detectors
exported  milliseconds of ONNX files in onnxruntime, beside PyTorch
gpu       a report on one GPU in ten minutes: tests, training steps, profile, loader, training
"""

import argparse
from collections.abc import Sequence
from typing import Any

from experiments import exported, latency, loader, steps
from experiments.gpu_report import report

KINDS = {
    "steps": steps.main,
    "loader": loader.main,
    "latency": latency.main,
    "exported": exported.main,
    "gpu": report.main,
}


def main(argv: Sequence[str] | None = None) -> Any:
    """Run the measurement that the first argument names, and return its result."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmark",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("options", nargs=argparse.REMAINDER, help="of that kind; see KIND --help")
    given = parser.parse_args(argv)
    return KINDS[given.kind](given.options)


if __name__ == "__main__":
    main()
