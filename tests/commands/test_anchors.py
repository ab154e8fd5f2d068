"""The shapes that `detectors anchors` prints are those that it found."""

from itertools import chain

import yaml


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
