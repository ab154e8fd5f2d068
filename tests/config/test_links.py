"""A config in a file keeps its links, and to follow them runs nothing."""

from typing import Any

import pytest
from omegaconf import OmegaConf

from detectors.config.links import followed, merged, targets, with_links


def test_links_are_kept_and_all_else_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "here")
    node = {"place": "${oc.env:PLACE}/x", "near": "${.place}", "both": ["${root}/a", "$D/${root}"]}
    cfg = OmegaConf.create({"root": "r", "node": node, "again": "${node}"})
    assert with_links(cfg) == {
        "root": "r",
        "node": {"place": "here/x", "near": "here/x", "both": ["${root}/a", "$D/${root}"]},
        "again": "${node}",
    }
    found = {"place": "here/x", "near": "here/x", "both": ["r/a", "$D/r"]}
    assert followed(with_links(cfg), "again") == found


@pytest.mark.parametrize(
    "value",
    [
        "${oc.env:HOME}",
        "${oc.create:'{_target_: os.system}'}",
        "x${oc.env:HOME}",
        r"\${b}",
        r"\\${b}",
        "${.b}",
        "${b[0]}",
        "${${b}}",
        "${b",
        ("a", "b"),
        {1.5: 2},
        {"a": {"b": b"bytes"}},
        object(),
    ],
)
def test_what_would_be_computed_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="config"):
        followed({"a": {"x": [value]}, "b": "oc.env:HOME"}, "a")
    with pytest.raises(ValueError, match="config"):
        followed({"a": "${c}", "b": "oc.env:HOME", "c": {"x": value}}, "a")


@pytest.mark.parametrize("value", ["${nowhere}", "${b}", "${a}"])
def test_links_that_lead_nowhere_are_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"the config has no 'nowhere'|in a circle"):
        followed({"a": {"x": value}, "b": "${a}"}, "a")


def test_a_value_and_a_missing_node() -> None:
    assert followed({"n": "${m}", "m": 3}, "n") == 3
    with pytest.raises(ValueError, match="no 'tta'"):
        followed({"n": 3}, "tta")


def test_a_change_reaches_all_that_refers_to_it() -> None:
    data = {"train": {"root": "old", "a": 1}, "val": {"root": "${data.train.root}"}, "x": "${x}"}
    config = {"data": data, "x": {"y": {"_target_": "A", "k": 1}, "z": 1}}
    for change, expected in (
        ({"train": {"root": "new"}}, {"root": "new", "a": 1}),
        ({"train": {"_target_": "B"}}, {"_target_": "B"}),
    ):
        assert merged(config, data, change)["train"] == expected
    new = merged(config, data, {"train": {"root": "new"}, "x": {"y": {"k": 2}}})
    assert followed({**config, "data": new}, "data") == {
        "train": {"root": "new", "a": 1},
        "val": {"root": "new"},
        "x": {"y": {"_target_": "A", "k": 2}, "z": 1},
    }


def test_every_target_is_found() -> None:
    node = {"_target_": "a.A", "x": [{"_target_": "b.B"}, {"y": {"_target_": "c.C"}}]}
    assert list(targets(node)) == ["a.A", "b.B", "c.C"]
