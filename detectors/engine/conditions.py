"""Says under which conditions a run would be made here and now: a process that others ask.

`python -m detectors.engine.conditions cpu` writes, as JSON in one line, what `run.json` says of
them: versions, the name of the device, threads.
"""

import json
import sys

import torch

from detectors.engine.record import code_and_machine


def main() -> None:
    """Answer on the standard output."""
    print(json.dumps(code_and_machine(torch.device(sys.argv[1]))))


if __name__ == "__main__":
    main()
