"""A trick changes what it declares and nothing else."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import pytest

from detectors.commands.tricks import refusal
from detectors.config.compose import compose
from detectors.config.overrides import changes, check_overrides
from tests.tricks.bag import Seen, cells, pair_of_words, row, seen

# By the start of a key: the places where it must show, and where else it may.
PLACES: dict[str, tuple[set[str], set[str]]] = {
    "augment": ({"batches"}, set()),
    "data": ({"batches"}, set()),
    "model.neck": ({"losses"}, {"weights", "detections"}),  # what drops values: while training
    "part.backbone": ({"losses"}, {"weights", "detections"}),  # what drops parts: while training
    "part.neck": ({"losses", "detections"}, {"weights"}),
    "part.sequential": ({"losses"}, {"weights", "detections"}),
    "part.norm": ({"losses"}, {"weights", "detections"}),
    "part.act": ({"losses"}, {"weights", "detections"}),
    "part.tower": ({"losses", "detections"}, {"weights"}),
    "part.coder": ({"losses", "detections"}, {"weights"}),
    "part.head": ({"losses"}, {"detections"}),
    "part.several": (set(), set()),  # a node to which others refer
    "clustering": ({"losses", "detections"}, set()),
    "part.priors": ({"losses", "detections"}, {"weights"}),
    "part.assigner": ({"losses"}, set()),
    "part.box_loss": ({"losses"}, set()),
    "part.class_loss": ({"losses"}, set()),
    "part.quality_loss": ({"losses"}, set()),
    "part.loss_normalizer": ({"losses"}, set()),
    "part.mining": ({"losses"}, set()),
    "part.loss_weights": ({"trained"}, {"losses"}),  # some learn from the training data
    "part.score": ({"detections"}, set()),
    "part.postprocess": ({"detections"}, set()),
    "tta": ({"detections"}, set()),
    "batch_tricks": ({"trained"}, set()),
    "callback": ({"trained"}, set()),
    "optimizer": ({"trained"}, set()),
    "schedule": ({"trained"}, set()),
    "warmup": ({"trained"}, set()),
    "learning_rate": ({"trained"}, set()),
    "cosine": ({"trained"}, set()),  # to which learning_rate refers
    "trainer": ({"trained"}, set()),
}
ANYWHERE = set[str](), set(Seen._fields)  # what a key of a new place changes is not known
FAST = {("cutout", "yolov3"), ("mish", "yolov3")}


def declared(changed: Sequence[str], trick: str) -> tuple[set[str], set[str]]:
    """Places where keys that a trick changes must show, and where they may; see `PLACES`."""
    must: set[str] = set()
    may: set[str] = set()
    for key in changed:
        if key.startswith(f"part.{trick}."):  # a node of its own: what refers to it counts
            continue
        starts = [start for start in PLACES if f"{key}.".startswith(f"{start}.")]
        shown = PLACES[starts[0]] if starts else ANYWHERE
        must |= shown[0]
        may |= shown[1]
    if must - {"batches"}:
        may |= {"trained"}
    return must, must | may


plain = lru_cache(maxsize=2)(seen)  # the same for most tricks of a family; each takes some 100 MB


@pytest.mark.parametrize(
    ("trick", "family"),
    [pytest.param(*cell, marks=[pytest.mark.slow] * (cell not in FAST)) for cell in cells()],
)
def test_a_trick_shows_where_it_declares_and_nowhere_else(
    trick: str, family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if family not in row(trick).families and (reason := refusal(trick, family)):
        pytest.skip(reason)
    on, off = pair_of_words(trick, family)
    cfg = compose(on)
    check_overrides(cfg, on)
    must, may = declared(sorted(changes(cfg, compose(off))), trick)
    trained = "trained" in must
    found = seen(*on, trained=trained).differing(plain(*off, trained=trained))
    assert found
    assert must - found == set(), f"{trick} shows nothing there"
    assert found - may == set(), f"{trick} shows there too"
