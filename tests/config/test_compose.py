"""Configs are those of Hydra, and remembered for as long as their files stay as they are."""

import random
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
import pytest
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from detectors.config import compose as composing
from detectors.config.loading import merge
from detectors.config.paths import CONF, choices


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of our configs, from which is composed."""
    root = tmp_path / "conf"
    shutil.copytree(CONF, root)
    for module in ("compose", "paths", "words"):
        monkeypatch.setattr(f"detectors.config.{module}.CONF", root)
    return root


def test_a_file_that_is_written_counts_at_once(copied: Path) -> None:
    assert composing.compose(["model=fcos"]).optimizer.lr != 0.125
    file = copied / "optimizer" / "adamw.yaml"
    file.write_text(file.read_text().replace("lr: ", "lr: 0.125  # "))
    assert composing.compose(["model=fcos"]).optimizer.lr == 0.125
    (copied / "neck" / "mine.yaml").write_text("# @package part.neck\n_target_: mine.Neck\n")
    assert "mine" in choices()["neck"]
    assert composing.compose(["model=fcos", "neck=mine"]).part.neck._target_ == "mine.Neck"


def test_what_is_changed_in_a_config_does_not_stay(copied: Path) -> None:
    composing.compose(["model=fcos"]).seed = 7
    assert composing.compose(["model=fcos"]).seed == 0


def by_hydra(words: Sequence[str], name: str) -> DictConfig:
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(name, overrides=list(words))


def same(words: Sequence[str], name: str = "train") -> None:
    """Keys, their order, values, links and types are those of Hydra."""
    found, expected = composing.compose(words, name), by_hydra(words, name)
    assert found._get_flag("struct") is expected._get_flag("struct") is True
    assert described(found) == described(expected)


def described(node: Any) -> Any:
    """All that there is in a node, in plain containers."""
    meta = node._metadata
    flags = {name: value for name, value in (meta.flags or {}).items() if value is not None}
    own = type(node), meta.key, meta.ref_type, meta.object_type, meta.optional, flags
    content = node._value()
    if isinstance(content, dict):
        assert all(child._get_parent() is node for child in content.values())
        return own, [(key, described(child)) for key, child in content.items()]
    return own, [*map(described, content)] if isinstance(content, list) else content


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (
            ["model=yolov4", "size=small", "trick=[mosaic,ciou]", "seed=3", "+part.mine.x=1"],
            "train",
        ),
        (["experiment=faster_rcnn_voc", "neck=pan", "~callback.table"], "train"),
        (["data=bccd", "tta=flip_merged", "hydra.job.name=mine"], "evaluate"),
    ],
)
def test_is_what_hydra_composes(words: list[str], name: str) -> None:
    same(words, name)


def test_is_what_hydra_composes_of_files_of_the_users(tmp_path: Path) -> None:
    (tmp_path / "neck").mkdir()
    file = tmp_path / "neck" / "mine.yaml"
    file.write_text("# @package part.neck\ndefaults: [pan]\nchannels: 8\n")
    words = ["neck=mine", f"hydra.searchpath=[file://{tmp_path}]"]
    same(words)
    file.write_text("# @package _global_\nhydra: {searchpath: [file://elsewhere]}\n")
    with pytest.raises(ValueError, match="only supported from the primary config"):
        composing.compose(words)
    file.write_text("# @package part\nlevels: {a: 1}\n")
    with pytest.raises(ValueError, match=r"part.levels is a list, expected named entries"):
        composing.compose(words)


@pytest.mark.slow
@pytest.mark.parametrize("group", sorted(path.name for path in CONF.iterdir() if path.is_dir()))
def test_every_choice_is_what_hydra_composes(group: str) -> None:
    for file in sorted((CONF / group).glob("*.yaml")):
        word = (
            f"{group}=[{file.stem}]" if group in ("logger", "callback", "metric", "trick") else ""
        )
        chosen = [word or f"{group}={file.stem}"]
        if group in ("loader", "study", "search"):  # included by others
            continue
        for words in (chosen, [*chosen, "size=small"]) if group == "model" else (chosen,):
            same(words, {"tta": "evaluate", "method": "propose"}.get(group, "train"))


def test_a_config_over_another_is_what_omegaconf_merges() -> None:
    draw = random.Random(0)
    outcomes = Counter()
    for _ in range(80):
        below, above = content(draw), content(draw)
        try:
            expected: Any = OmegaConf.create(below)
            expected.merge_with(above)
        except OmegaConfBaseException:
            with pytest.raises(TypeError):
                merge(below, above)
            outcomes["refused"] += 1
        else:
            before = repr(above)
            merge(below, above)
            assert repr(below) == repr(OmegaConf.to_container(expected, resolve=False))
            assert repr(above) == before
            outcomes["merged"] += 1
    assert min(outcomes.values()) > 10


def content(draw: random.Random, depth: int = 0) -> Any:
    """Named entries of a few names, so that those of two often meet."""
    entries = {}
    for key in draw.sample("abc", 2):
        deeper = depth < 2 and draw.random() < 0.6
        values = [1, None, "???", [1], [{"a": 2}], "${a}", "${b}", "${c.a}"]
        entries[key] = content(draw, depth + 1) if deeper else draw.choice(values)
    return entries
