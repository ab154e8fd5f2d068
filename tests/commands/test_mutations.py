"""Words mutated by a seeded rule are refused with their key, or listed as meaning something.

Each line is given to the command line itself; what would train, evaluate or detect is stopped as
soon as it begins.
"""

import random
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hydra.core.global_hydra import GlobalHydra
from lightning.pytorch import Trainer
from omegaconf import OmegaConf

from detectors.__main__ import main
from detectors.commands import predict, tricks
from detectors.config.compose import compose
from detectors.config.paths import choices, key
from detectors.config.references import is_read, leaves, read_keys
from detectors.config.settings import SETTINGS
from tests.classification.labelled_pictures import write_crops
from tests.commands.conftest import TINY
from tests.commands.test_pretrain import WORDS as PRETRAIN

COUNT = 300
SCENES = ["data.train.read.count=4", "data.num_workers=0", "image_size=64"]
LINES = {  # what is mutated: words of each command, all of which are accepted as they stand
    "train": ["model=fcos", *TINY],
    "evaluate": ["ckpt_path=CKPT", "device=cpu", "+data.num_workers=0"],
    "predict": ["ckpt_path=CKPT", "source=PICTURES", "device=cpu"],
    "show": ["model=yolov3", "size=small", *SCENES],
    "preview": [*SCENES, "count=1", "data.batch_size=1"],
    "assign": ["model=retinanet", "size=small", *SCENES, "count=1"],
    "anchors": [*SCENES, "count=3", "levels=1"],
    "tricks": ["tricks=[]"],
    "pretrain": [*PRETRAIN, "data.root=CROPS"],
}
# What the commands make that take all words of `train`; the others make all that they know.
MAKES = {
    "show": {"model", "image_size"},
    "preview": {"data", "count", "columns", "epoch", "file", "image_size", "seed"},
    "assign": {"data", "model", "count", "epoch", "compare", "file", "image_size", "seed"},
    "anchors": {"data", "count", "levels", "image_size", "seed"},
}
WEIGHTS = {"train": 10, "evaluate": 3, "predict": 2, "show": 3, "assign": 2, "pretrain": 2}
# Mutations that mean something, so that they are accepted; a number may be large.
MEANINGFUL = re.compile(
    r"(seed|data\.max_unreadable|scenes\.contrast|.*threshold)=0|.*=1e30|"
    r"trainer\.max_epochs=null|tricks=null|part\.act\.negative_slope=-.*"
)


class Mutation(NamedTuple):
    command: str
    words: list[str]
    word: str  # the last of them


def mutations(seed: int = 0) -> Iterator[Mutation]:
    """COUNT of them, the same for the same seed."""
    rng = random.Random(seed)
    commands = [name for name in LINES for _ in range(WEIGHTS.get(name, 1))]
    known = {name: list(_settable(name)) for name in LINES}
    for _ in range(COUNT):
        command = rng.choice(commands)
        kind = rng.choice([_misspelt, _added, _typed, _valued, _valued, _chosen, _quoted, _twice])
        word = kind(rng, command, known[command])
        others = [w for w in LINES[command] if kind is _twice or key(w) != key(word)]
        yield Mutation(command, [*others, word], word)


def _settable(command: str) -> Iterator[tuple[str, Any]]:
    """Keys that are read, with the values that they have."""
    given = [word for word in LINES[command] if "CKPT" not in word and not word.startswith("+")]
    raw: Any = OmegaConf.to_container(compose(given, command), resolve=False)
    unmade = SETTINGS.keys() - MAKES.get(command, SETTINGS.keys())
    read = read_keys({key: node for key, node in raw.items() if key not in unmade})
    for place, value in leaves(raw):
        if is_read(place, read) and not place.endswith("_") and "${" not in str(value):
            yield place, value


def _misspelt(rng: random.Random, command: str, known: list) -> str:
    place, value = rng.choice(known)
    return f"{_wrong(rng, place)}={_written(value)}"


def _added(rng: random.Random, command: str, known: list) -> str:
    place, value = rng.choice(known)
    return f"+{_wrong(rng, place)}={_written(value)}"


def _typed(rng: random.Random, command: str, known: list) -> str:
    """A value of another type."""
    place, value = rng.choice(known)
    others = {"1.5": float, "true": bool, "abc": str, "[1,abc]": list, "{a:1}": dict}
    unlike = [text for text, kind in others.items() if not isinstance(value, kind)]
    return f"{place}={rng.choice(unlike)}"


def _valued(rng: random.Random, command: str, known: list) -> str:
    """A number below its range, zero, or none."""
    numbers = [k for k, v in known if isinstance(v, (int, float)) and not isinstance(v, bool)]
    place = rng.choice(numbers or [place for place, _ in known])
    return f"{place}={rng.choice(['-1', '0', 'nan', '-0.5', '-7', 'null', '1e30'])}"


def _chosen(rng: random.Random, command: str, known: list) -> str:
    group = rng.choice(sorted(choices()))
    other = rng.choice(sorted(choices()))
    name = rng.choice(choices()[other])
    return f"{group}={_wrong(rng, name) if rng.random() < 0.5 or group == other else name}"


def _quoted(rng: random.Random, command: str, known: list) -> str:
    place, value = rng.choice(known)
    text = _written(value)
    return f"{place}=" + rng.choice(
        [f"'{text}", f'"{text}', f"{text}=1", f"[{text}", f"{{{text}", "}"]
    )


def _twice(rng: random.Random, command: str, known: list) -> str:
    return rng.choice(LINES[command]) if rng.random() < 0.7 else f"{_wrong(rng, 'group')}=fcos"


def _wrong(rng: random.Random, dotted: str) -> str:
    """One name of a dotted key with two letters exchanged, one doubled or one left out."""
    names = dotted.split(".")
    place = rng.randrange(len(names))
    name = names[place]
    at = rng.randrange(len(name))
    doubled, short = name[:at] + name[at] + name[at:], name[:at] + name[at + 1 :]
    swapped = name[: at - 1] + name[at] + name[at - 1] + name[at + 1 :] if at else doubled
    names[place] = next(n for n in rng.sample([doubled, short, swapped], 3) if n not in ("", name))
    return ".".join(names)


def _written(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value).replace(" ", "").replace("'", "")


def names_in(word: str) -> list[str]:
    """The names by one of which a refusal has to say what it is about."""
    value = word.partition("=")[2]
    parts = [f"'{part}'" for part in key(word).split(".")]
    last = key(word).rpartition(".")[2]
    return [word, key(word), last, *parts, *re.findall(r"[a-z]\w+", value)]


@pytest.fixture
def outcome(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Callable[[Mutation], tuple[bool, str]]:
    """Whether a line is accepted, and what is told."""

    def begins(*_: object, **__: object) -> None:
        raise Begun

    for run in ("fit", "validate", "test"):
        monkeypatch.setattr(Trainer, run, begins)
    monkeypatch.setattr(predict, "detect", begins)
    monkeypatch.setattr(tricks, "refusal", begins)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    places = {
        "CKPT": str(trained / "checkpoints" / "best.ckpt"),
        "PICTURES": str(trained / "pictures"),
        "CROPS": str(write_crops(tmp_path / "crops", train=32)),
    }

    def call(mutation: Mutation) -> tuple[bool, str]:
        words = mutation.words
        for name, path in places.items():
            words = [word.replace(name, path) for word in words]
        monkeypatch.setattr(sys, "argv", ["detectors", mutation.command, *words])
        capsys.readouterr()
        try:
            main()
        except SystemExit as stop:
            told = capsys.readouterr().err
            return stop.code in (0, None), told
        except Begun:
            pass
        finally:
            GlobalHydra.instance().clear()
        return True, ""

    return call


class Begun(BaseException):
    """All was accepted."""


@pytest.mark.slow
def test_mutated_words_are_refused_by_name_or_mean_something(
    outcome: Callable[[Mutation], tuple[bool, str]],
) -> None:
    for command, words in LINES.items():
        assert outcome(Mutation(command, words, "")) == (True, ""), command
    wrong = []
    for mutation in mutations():
        accepted, told = outcome(mutation)
        line = f"{mutation.command} ... {mutation.word}"
        if accepted:
            if not MEANINGFUL.fullmatch(mutation.word):
                wrong.append(f"{line}: accepted")
        elif "Traceback" in told or "unexpected" in told or len(told.splitlines()) != 1:
            wrong.append(f"{line}: {told}")
        elif not any(name in told for name in names_in(mutation.word)):
            wrong.append(f"{line}: does not say the key: {told}")
    assert not wrong, "\n".join(wrong)
