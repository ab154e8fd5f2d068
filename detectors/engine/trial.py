"""Tries whether words could be trained, without training: a process that others ask.

Reads a JSON list of lists of words, and writes a JSON list of `{"refused", "parameters",
"operations", "operations_missing"}` in one line: the reason or null, and the costs of what is not
refused, with the reason where operations cannot be counted.
"""

import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from detectors.engine.build import configured, sketch
from detectors.engine.operations import operations
from detectors.engine.record import asked
from detectors.engine.trainer import assemble


def main() -> None:
    """Answer on the standard output."""
    logging.disable(logging.WARNING)
    sys.path.append("")  # a part in a file beside
    asked = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        answers = [tried([*words, f"run_dir={folder}"]) for words in asked]
    print(json.dumps(answers))


def tried(words: Sequence[str]) -> dict[str, Any]:
    """Why the words are refused, or what the detector costs for one picture."""
    try:
        cfg = configured(words)
        assemble(cfg)
    except (ValueError, OSError) as error:
        return {"refused": " ".join(str(error).split())}
    size = cfg.image_size
    height, width = (size, size) if isinstance(size, int) else size
    detector = sketch(cfg).eval()
    parameters = sum(parameter.numel() for parameter in detector.parameters())
    counted = asked("operations", lambda: operations(detector, height, width)["all"])
    return {"refused": None, "parameters": parameters, **counted}


if __name__ == "__main__":
    main()
