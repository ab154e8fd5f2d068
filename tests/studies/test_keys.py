"""A key changes with all that can change a number, and with nothing else."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from detectors.config.compose import compose
from detectors.config.paths import PACKAGE
from detectors.studies import keys
from detectors.studies.keys import (
    changed,
    code_hashes,
    fingerprint,
    packages_of,
    resolved,
    run_key,
    split_hash,
)

WORDS = ("model=yolov3_tiny", "size=small", "data=scenes_easy", "image_size=96")
COSMETIC = {
    "run_dir": "elsewhere",
    "logger": {},
    "ckpt_path": "last",
    "latency": False,
    "data.num_workers": 0,
    "data.cache": "ram",
    "trainer.default_root_dir": "elsewhere",
    "trainer.log_every_n_steps": 1,
    "trainer.checkpoint_minutes": None,
    "callback.pictures.count": 3,
    "callback.progress.shown": "val/AP50",
    "callback.table.folder": "elsewhere",
}
SCIENCE = {
    "seed": 1,
    "optimizer.lr": 0.002,
    "optimizer.weight_decay": 0.0,
    "precision": "16-mixed",
    "image_size": 128,
    "channels_last": False,
    "compile": True,
    "objective": "val/AP50",
    "data.batch_size": 8,
    "data.train.read.count": 800,
    "data.train.missing": 0.5,
    "scenes.seed": 1,
    "scenes.contrast": 0.5,
    "trainer.max_epochs": 1,
    "trainer.gradient_clip_val": 1.0,
    "trainer.accumulate_grad_batches": 2,
    "trainer.devices": 2,
    "trainer.deterministic": True,
    "warmup.length": 7,
    "part.postprocess.detections": 50,
}
CHOICES = ("trick=[ciou]", "model=fcos", "optimizer=sgd", "act=mish", "schedule=step")


@pytest.fixture(scope="module")
def plain() -> DictConfig:
    return compose(WORDS)


def key(cfg: DictConfig, updates: dict[str, Any] | None = None) -> str:
    """Of a config with other values, which is what words of the command line make."""
    cfg = cfg.copy()
    for name, value in (updates or {}).items():
        OmegaConf.update(cfg, name, value, force_add=True)
    return run_key(resolved(cfg), "data")


def test_a_key_is_sixteen_hex_digits_of_config_and_data(plain: DictConfig) -> None:
    config = resolved(plain)
    assert len(key(plain)) == 16
    assert int(key(plain), 16) >= 0
    assert run_key(config, "data") == run_key(json.loads(json.dumps(config)), "data")
    assert run_key(config, "data") != run_key(config, "other data")


@pytest.mark.parametrize("name", COSMETIC)
def test_what_changes_no_number_keeps_the_key(name: str, plain: DictConfig) -> None:
    assert key(plain, {name: COSMETIC[name]}) == key(plain)


def test_a_callback_that_shows_may_be_left_out(plain: DictConfig) -> None:
    cfg = plain.copy()
    del cfg.callback.pictures
    assert key(cfg) == key(plain)
    del cfg.callback.nonfinite
    assert key(cfg) != key(plain)


def test_each_of_twenty_words_gives_another_key(plain: DictConfig) -> None:
    found = {name: key(plain, {name: value}) for name, value in SCIENCE.items()}
    assert len({key(plain), *found.values()}) == 1 + len(SCIENCE) == 21


def test_each_choice_of_a_group_gives_another_key(plain: DictConfig) -> None:
    found = {choice: key(compose([*without(choice), choice])) for choice in CHOICES}
    assert len({key(plain), *found.values()}) == 1 + len(CHOICES)


def without(choice: str) -> list[str]:
    group = choice.partition("=")[0]
    return [word for word in WORDS if not word.startswith(f"{group}=")]


def test_the_same_config_in_other_words_has_the_same_key(plain: DictConfig) -> None:
    other = compose([*WORDS, "trick=[]", "optimizer.lr=0.0020", "callback.pictures.count=3"])
    assert key(other) == key(plain, {"optimizer.lr": 0.002})


def test_the_folder_of_a_run_is_not_in_its_key(plain: DictConfig, tmp_path: Path) -> None:
    cfg = plain.copy()
    cfg.run_dir = str(tmp_path)
    recorded: Any = OmegaConf.to_container(cfg, resolve=True)
    assert recorded["callback"]["last"]["folder"] == f"{tmp_path}/checkpoints"
    assert run_key(recorded, "data") == key(plain)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    """A config of data in files: two annotations and a picture."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/a.png").write_bytes(b"picture")
    (tmp_path / "a.xml").write_text("<a/>")
    (tmp_path / "b.xml").write_text("<b/>")
    return {"data": {"train": {"root": str(tmp_path)}, "val": {"root": str(tmp_path)}}}


CHANGES: dict[str, Callable[[Path], object]] = {
    "an annotation": lambda folder: (folder / "a.xml").write_text("<c/>"),
    "a picture's size": lambda folder: (folder / "pictures/a.png").write_bytes(b"a picture"),
    "a picture's time": lambda folder: os.utime(folder / "pictures/a.png", ns=(0, 10**9)),
    "a name": lambda folder: (folder / "a.xml").rename(folder / "c.xml"),
    "a file more": lambda folder: (folder / "pictures/b.png").write_bytes(b"picture"),
    "a file less": lambda folder: (folder / "b.xml").unlink(),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_fingerprint_changes_with_the_files(
    what: str, files: dict[str, Any], tmp_path: Path
) -> None:
    before = fingerprint(files)
    CHANGES[what](tmp_path)
    assert fingerprint(files) != before


def test_the_fingerprint_keeps_where_no_file_of_the_data_changes(
    files: dict[str, Any], tmp_path: Path
) -> None:
    before = fingerprint(files)
    (tmp_path / ".hidden").write_text("mine")
    os.utime(tmp_path / "a.xml", ns=(0, 10**9))  # its content counts
    assert fingerprint(files) == before


def test_the_full_fingerprint_is_of_contents_alone(files: dict[str, Any], tmp_path: Path) -> None:
    full = {**files, "fingerprint": "full"}
    before = fingerprint(full)
    os.utime(tmp_path / "pictures/a.png", ns=(0, 10**9))
    assert fingerprint(full) == before
    (tmp_path / "pictures/a.png").write_bytes(b"PICTURE")
    os.utime(tmp_path / "pictures/a.png", ns=(0, 10**9))
    assert fingerprint(full) != before


def test_large_files_are_read_once(
    files: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "WORTH", 1)
    read: list[str] = []
    content = keys._content
    monkeypatch.setattr(keys, "_content", lambda file: read.append(file.name) or content(file))
    before = fingerprint(files)
    assert fingerprint(files) == before
    assert read == ["a.xml", "b.xml"]
    (tmp_path / "a.xml").write_text("<longer/>")
    assert fingerprint(files) != before
    assert read[2:] == ["a.xml"]


def test_a_damaged_cache_is_read_over(files: dict[str, Any], tmp_path: Path) -> None:
    before = fingerprint(files)
    (tmp_path / keys.CACHE).write_text('{"a.xml": [4, ')
    assert fingerprint(files) == before


def test_a_folder_that_links_to_itself_is_read_once(files: dict[str, Any], tmp_path: Path) -> None:
    before = fingerprint(files)
    (tmp_path / "pictures/up").symlink_to(tmp_path)
    assert fingerprint(files) == before


def test_initial_weights_count_by_their_content(tmp_path: Path) -> None:
    file = tmp_path / "net.pth"
    file.write_bytes(b"one")
    whole, prefixed = {"weights": str(file)}, {"weights": f"torchvision:{file}"}
    backbone = {"part": {"backbone": {"weights": str(file)}}}
    before = [fingerprint(config) for config in (whole, prefixed, backbone)]
    file.write_bytes(b"two")
    after = [fingerprint(config) for config in (whole, prefixed, backbone)]
    assert all(old != new for old, new in zip(before, after, strict=True))


def test_generated_scenes_differ_by_their_settings() -> None:
    scenes = {"train": {"count": 5, "missing": 0.0}, "val": {"count": 2}, "test": None}
    fewer = {**scenes, "train": {"count": 5, "missing": 0.5}}
    hashes = [[split_hash({"data": d}, s) for s in ("train", "val")] for d in (scenes, fewer)]
    assert hashes[0][0] != hashes[1][0]
    assert hashes[0][1] == hashes[1][1]
    assert split_hash({"data": scenes}, "test") is None


def test_a_split_differs_by_its_own_files(files: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    (tmp_path / "val/d.xml").write_text("<d/>")
    split = {**files["data"], "val": {"root": str(tmp_path / "val")}}
    before = [split_hash({"data": split}, s) for s in ("train", "val")]
    (tmp_path / "a.xml").write_text("<other/>")
    after = [split_hash({"data": split}, s) for s in ("train", "val")]
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_generated_scenes_have_no_files(plain: DictConfig) -> None:
    assert fingerprint(resolved(plain)) == fingerprint({})


def test_code_is_that_of_this_package_and_of_the_users_parts() -> None:
    config = {"a": {"_target_": "detectors.x.Y", "b": [{"_target_": "my_parts.neck.Mine"}]}}
    assert packages_of({**config, "c": {"_target_": "torch.nn.ReLU"}}) == {"detectors", "my_parts"}


def test_a_changed_or_missing_file_of_code_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "foreign_parts").mkdir()
    for name in ("__init__", "neck"):
        (tmp_path / f"foreign_parts/{name}.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    __import__("foreign_parts.neck")
    code = code_hashes({"detectors", "foreign_parts"})
    assert {"foreign_parts/neck.py", "detectors/studies/keys.py"} <= code.keys()
    assert all((PACKAGE.parent / name).is_file() for name in code if "foreign" not in name)
    assert changed(code) == []
    (tmp_path / "foreign_parts/neck.py").write_text("x = 2\n")
    (tmp_path / "foreign_parts/__init__.py").unlink()
    assert changed(code) == ["foreign_parts/__init__.py", "foreign_parts/neck.py"]


def test_studies_import_no_torch() -> None:
    """Nor Lightning, pandas or OpenCV, in whatever module of theirs."""
    files = (PACKAGE / "studies").rglob("*.py")
    parts = (file.relative_to(PACKAGE.parent).with_suffix("").parts for file in files)
    names = sorted({".".join(part).removesuffix(".__init__") for part in parts})
    code = (
        "import importlib, sys\n"
        f"for name in {names}: importlib.import_module(name)\n"
        "print(*{'torch', 'lightning', 'pandas', 'cv2'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
