"""A run that is killed again and again, and resumed, ends as the run that never stopped."""

import contextlib
import itertools
import multiprocessing
import os
import random
import re
import signal
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import detectors.__main__
from detectors.config.compose import compose
from detectors.module import LitDetector
from tests.tricks.bag import regions

pytestmark = pytest.mark.slow

EPOCHS, BATCHES, VAL_BATCHES = 2, 6, 2
WORDS = [
    *("size=small", "image_size=96", "device=cpu", "precision=32-true", "data=scenes_easy"),
    *("scenes.layout.side=96", "data.batch_size=2", f"data.train.read.count={2 * BATCHES}"),
    *(f"data.val.count={2 * VAL_BATCHES - 1}", "~callback.pictures"),
    *(f"trainer.max_epochs={EPOCHS}", "trainer.log_every_n_steps=1"),
    *("hydra.run.dir=run", "ckpt_path=last"),  # without a checkpoint the run starts anew
]
MOSAIC, MULTISCALE, EMA = "mosaic", "multiscale", "ema"
SIDES = ["data.multiscale.sides=[64,96]", "data.multiscale.every=2"]
ACCUMULATED, WORKERS = "trainer.accumulate_grad_batches=2", "data.num_workers=2"
OF_FAMILY: dict[str, tuple[list[str], list[str]]] = {  # tricks and other words
    "yolov1": ([MOSAIC], [ACCUMULATED]),
    "yolov2": ([MULTISCALE, EMA], [*SIDES]),
    "yolov3": ([MOSAIC, MULTISCALE], [*SIDES, WORKERS]),
    "yolov4": ([MOSAIC, EMA], [ACCUMULATED]),
    "ssd300": ([EMA], [WORKERS]),
    "retinanet": ([MULTISCALE, EMA], [*SIDES, ACCUMULATED, WORKERS]),
    "faster_rcnn": ([EMA], [ACCUMULATED]),
    "centernet": ([MOSAIC, EMA], [WORKERS]),
    "fcos": ([MOSAIC, MULTISCALE, EMA], [*SIDES, ACCUMULATED]),
    "efficientdet_d0": ([EMA, "drop_path"], []),
    "yolox_s": (["affine_mosaic", "jittered_mixup", "closing_mosaic", "closing_l1"], [WORKERS]),
    "atss": ([MULTISCALE], [*SIDES]),
    "paa": ([EMA], [ACCUMULATED]),
    "ota": ([MOSAIC], []),
    "gfl": ([MOSAIC, EMA], []),
    "foveabox": ([MULTISCALE], [*SIDES, ACCUMULATED]),
    "cascade_rcnn": ([EMA], []),
    "iou_net": ([], [ACCUMULATED]),
    "centernet2": ([MOSAIC], []),
}
FILES = ("metrics.csv", "steps.csv", "metrics.json", "detections.json", "images.json")
DIFFERENT = {"config"}  # holds how often the run is saved
BEGUN = re.compile(  # how many batches of a validation were begun; one that is repeated begins more
    r"/loops/fit_loop/epoch_loop\.val_loop\.batch_progress/total/(ready|started)"
)
SPENT = re.compile(
    r"/callbacks/Costs/(train_seconds|evaluation_seconds|images_per_second|memory.*)"
)
KILLED, ENDED = -signal.SIGKILL, 128 + signal.SIGTERM


class Kill(NamedTuple):
    """A signal that a process sends itself when it is for the n-th time at a place."""

    place: str
    count: int
    number: signal.Signals
    minutes: float  # between saves within an epoch


PLACES: list[tuple[str, int, signal.Signals]] = [  # with the highest count; the end evaluates too
    ("step", EPOCHS * BATCHES, signal.SIGKILL),
    ("step", EPOCHS * BATCHES, signal.SIGTERM),
    ("save", EPOCHS + 1, signal.SIGKILL),
    ("validation", (EPOCHS + 1) * VAL_BATCHES, signal.SIGKILL),
    ("validation", (EPOCHS + 1) * VAL_BATCHES, signal.SIGTERM),
]


def kills(family: str) -> list[Kill]:
    """One at each place, in any order; drawn by the family's name."""
    draw = random.Random(family)
    drawn = [
        Kill(place, draw.randint(1, most), number, draw.choice([1e-9, 10.0]))
        for place, most, number in PLACES
    ]
    draw.shuffle(drawn)
    return drawn


def arrange(kill: Kill) -> None:
    """Let this process kill itself. A save is hit when its file is written and has no name yet."""
    owners = {
        "step": (LitDetector, "training_step"),
        "validation": (LitDetector, "validation_step"),
        "save": (os, "replace"),
    }
    owner, name = owners[kill.place]
    before: Callable[..., Any] = getattr(owner, name)
    calls = itertools.count(1)

    @wraps(before)
    def struck(*given: Any, **named: Any) -> Any:
        counted = kill.place != "save" or str(given[1]).endswith(".ckpt")
        if counted and next(calls) == kill.count:
            os.kill(os.getpid(), kill.number)
        return before(*given, **named)

    setattr(owner, name, struck)


def live(folder: Path, words: list[str], kill: Kill | None) -> None:
    """The life of a process: `detectors train`, as far as it comes."""
    os.setsid()
    os.chdir(folder)
    told = os.open("told.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(told, 1)
    os.dup2(told, 2)
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # of its workers, as when it is typed
    minutes = 10.0 if kill is None else kill.minutes
    sys.argv = ["detectors", "train", *words, f"trainer.checkpoint_minutes={minutes}"]
    if kill is not None:
        arrange(kill)
    detectors.__main__.main()


def status_of(folder: Path, words: list[str], kill: Kill | None) -> int | None:
    """The exit status of a life, None of one that does not end within ten minutes.

    Its process is forked from one that has imported all it needs.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "detectors.commands.train"])
    process = context.Process(target=live, args=(folder, words, kill))
    process.start()
    process.join(600)
    status = process.exitcode
    assert process.pid is not None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # its workers would see only later that it is gone
    return status


def finished(folder: Path, words: list[str], left: list[Kill]) -> Path:
    """The folder of a run that has ended after those kills that it came to; they leave the list."""
    folder.mkdir()
    told = folder / "told.txt"
    while True:
        kill = left[0] if left else None
        status = status_of(folder, words, kill)
        if status == 0:
            return folder / "run"
        expected = {None: 0, signal.SIGKILL: KILLED, signal.SIGTERM: ENDED}[kill and kill.number]
        assert status == expected, f"{status} after {kill}: {told.read_text()[-3000:]}"
        left.pop(0)


def leaves(node: Any, folder: Path, name: str = "") -> dict[str, Any]:
    """Everything in a checkpoint by its place, the paths without the folder."""
    if isinstance(node, dict):
        pairs: Any = node.items()
    elif isinstance(node, list | tuple):
        pairs = enumerate(node)
    else:
        return {name: node.replace(str(folder), "") if isinstance(node, str) else node}
    own = {str(key).replace(str(folder), ""): value for key, value in pairs}
    parts = [leaves(value, folder, f"{name}/{key}") for key, value in own.items()]
    return {key: value for part in parts for key, value in part.items()}


def content(folder: Path, name: str) -> dict[str, Any]:
    file = torch.load(folder / "checkpoints" / name, weights_only=True)
    found = leaves({key: part for key, part in file.items() if key not in DIFFERENT}, folder)
    others = (BEGUN, SPENT)
    return {n: value for n, value in found.items() if not any(o.fullmatch(n) for o in others)}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return type(one) is type(other) and one == other


def differing(one: Path, other: Path) -> list[str]:
    """Names of what is not the same in two run folders."""
    found = [name for name in FILES if (one / name).read_bytes() != (other / name).read_bytes()]
    for name in ("last.ckpt", "best.ckpt"):
        a, b = content(one, name), content(other, name)
        found += [f"{name}{key}" for key in {**a, **b} if not same(a.get(key), b.get(key))]
    return found


def test_every_family_is_killed() -> None:
    assert set(OF_FAMILY) >= set(compose([], "tricks").families)


@pytest.mark.parametrize("family", OF_FAMILY)
def test_five_kills_change_nothing(family: str, tmp_path: Path) -> None:
    tricks, more = OF_FAMILY[family]
    more = more if WORKERS in more else [*more, "data.num_workers=0"]
    words = [*WORDS, f"model={family}", f"trick=[{','.join(tricks)}]", *more, *regions(family)]
    unbroken = finished(tmp_path / "unbroken", words, [])
    left = kills(family)
    for number in itertools.count():
        present = list(left)
        broken = finished(tmp_path / f"broken{number}", words, left)
        hit = present[: len(present) - len(left)]
        assert differing(unbroken, broken) == [], f"after {hit}"
        if not left:
            break
        assert hit, f"never came to {left[0]}"
