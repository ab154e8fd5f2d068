"""What is measured for speed, each with options of its own, which `KIND --help` shows.

steps    training steps and inference of all families, beside torchvision's
loader   images a second of the loader, with and without a cache, and what bounds them
latency  milliseconds a picture of trained detectors
"""

import argparse
from collections.abc import Sequence
from typing import Any

from experiments import latency, loader, steps

KINDS = {"steps": steps.main, "loader": loader.main, "latency": latency.main}


def main(argv: Sequence[str] | None = None) -> Any:
    """Measure what the first word names; what that measurement returns."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmark",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("options", nargs=argparse.REMAINDER, help="its own; see KIND --help")
    given = parser.parse_args(argv)
    return KINDS[given.kind](given.options)


if __name__ == "__main__":
    main()
