"""The shapes that `detectors anchors` prints are those that it found."""

from itertools import chain
from pathlib import Path

import pytest
import yaml

BRIEF = ("data=scenes_small", "data.train.read.count=16", "count=2", "levels=1")


@pytest.mark.parametrize(
    ("words", "side"), [(["model=yolov2"], 416), (["experiment=mine"], 64), (["image_size=32"], 32)]
)
def test_the_canvas_is_that_of_the_recipe_or_model(
    words: list[str], side: int, detectors, tmp_path: Path, capsys
) -> None:
    recipes = tmp_path / "conf" / "experiment"
    recipes.mkdir(parents=True)
    recipe = "# @package _global_\ndefaults: [{override /model: yolov3}]\nimage_size: 64\n"
    (recipes / "mine.yaml").write_text(recipe)
    detectors(tmp_path, "anchors", "--config-dir", "conf", *words, *BRIEF)
    assert f"on a canvas of ({side}, {side})" in capsys.readouterr().out


def test_small_shapes_stay_different(detectors, tmp_path, capsys) -> None:
    """Of a few pixels each, they would be equal as whole numbers."""
    words = [
        "data=scenes_small",
        "data.train.read.count=40",
        "image_size=32",
        "count=6",
        "levels=2",
    ]
    detectors(tmp_path, "anchors", *words)
    printed = capsys.readouterr().out
    levels = yaml.safe_load(printed[printed.index("_target_") :])["shapes"]
    assert [len(level) for level in levels] == [3, 3]
    shapes = {tuple(shape) for shape in chain(*levels)}
    assert len(shapes) == 6
    assert max(max(shape) for shape in shapes) < 5
