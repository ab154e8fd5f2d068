"""Values of a config are compared with the annotations of the constructors that take them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from math import inf, nan
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from omegaconf import OmegaConf
from torch import nn

from detectors.config.instantiate import check_node, instantiate
from detectors.config.values import described, fits
from detectors.ranges import Count, Positive, Share, Weight, Within

NODE = {"_target_": "torch.nn.ReLU"}
ALLOWED: list[tuple[Any, list[Any]]] = [
    (int, [0, -1, 3]),
    (float, [0.5, 1, inf]),
    (bool, [True, False]),
    (str, ["", "abc"]),
    (int | None, [1, None]),
    (Literal["a", 1] | None, ["a", 1, None]),
    (tuple[int, float], [[1, 2.5], [1, 2]]),
    (tuple[int, ...], [[], [1, 2, 3]]),
    (Sequence[float], [[], [1, 0.5]]),
    (list[tuple[float, float]], [[[1, 2.0]], []]),
    (dict[str, float], [{}, {"a": 1}, NODE]),
    (Mapping[str, nn.Module | None], [{"a": NODE, "b": None}, {}]),
    (Callable[[], int], [NODE, {"_target_": "x.y", "_partial_": True}]),
    (nn.Module, [NODE]),
    (str | Path, ["runs"]),
    (Share, [0, 1, 0.5]),
    (Positive, [1e-9, 100]),
    (Weight, [0, 2.5]),
    (Count, [1, 10**9]),
    (Any, [1, "a", None, [], {}]),
    (object, [1, "a", None, [], {}]),
]
REFUSED: list[tuple[Any, list[Any]]] = [
    (int, [1.0, True, "1", None, [1], {}, NODE]),
    (float, ["1", "fast", True, nan, None, [0.5], NODE]),
    (bool, [0, 1, "true", None]),
    (str, [1, True, None, ["a"]]),
    (int | None, ["1", 1.5]),
    (Literal["a", 1], ["b", True, 2, NODE]),
    (tuple[int, float], [[1], [1, 2, 3], [1.5, 2], 1, "12"]),
    (tuple[int, ...], [[1, "a"], 1]),
    (Sequence[float], ["abc", 1, [nan], [[1]]]),
    (dict[str, float], [[], 1, {"a": "b"}]),
    (Mapping[str, nn.Module], [{"a": 1}, {"a": None}]),
    (Callable[[], int], [1, "f", {}, {"a": 1}]),
    (nn.Module, [1, "relu", [NODE], {"a": 1}]),
    (timedelta, [3]),
    (Share, [-0.1, 1.1, nan, "0.5"]),
    (Positive, [0, -1, inf]),
    (Weight, [-1e-9, inf]),
    (Count, [0, -3, 1.0, True]),
]


@pytest.mark.parametrize(("annotation", "values"), ALLOWED)
def test_what_passes(annotation: Any, values: list[Any]) -> None:
    assert [value for value in values if not fits(value, annotation)] == []


@pytest.mark.parametrize(("annotation", "values"), REFUSED)
def test_what_does_not(annotation: Any, values: list[Any]) -> None:
    assert [value for value in values if fits(value, annotation)] == []


def test_descriptions_are_words() -> None:
    assert described(int | None) == "a whole number or null"
    assert described(tuple[Count, float]) == "a list [a whole number in [1, inf), a number]"
    assert described(list[str]) == "a list, each text"
    assert described(Literal["auto", "cpu"]) == "one of auto, cpu"
    assert described(Mapping[str, bool]) == "named entries, each true or false"
    assert described(nn.Module) == "Module (a node with a _target_)"


class Part:
    """What a user may write; its second argument is optional, though not by its annotation."""

    def __init__(self, rate: Annotated[float, Within("(0, 1)")], name: str = None) -> None:  # type: ignore[assignment]  # noqa: RUF013
        self.rate, self.name = rate, name


def node(**values: Any) -> dict[str, Any]:
    return {"_target_": f"{__name__}.Part", **values}


def test_a_wrong_value_is_told_with_its_place_and_what_was_expected() -> None:
    for rate, found in ((2, "2"), ("fast", "'fast'"), (True, "true"), (None, "null")):
        with pytest.raises(ValueError, match=rf"^outer\.part\.rate: found {found}, expected a num"):
            check_node({"part": node(rate=rate)}, "outer")
    check_node(node(rate=0.5, name=None), "part")
    check_node(node(_partial_=True), "part")


def test_a_map_of_parts_holds_parts_alone() -> None:
    with pytest.raises(ValueError, match=r"^callback\.x: found 1, expected .*_target_"):
        instantiate(OmegaConf.create({"callback": {"x": 1}}), "callback")


def test_near_words_are_named() -> None:
    with pytest.raises(ValueError, match=r"box\.kind: found 'giuo', .*Did you mean 'giou'"):
        check_node({"_target_": "detectors.losses.box.IoULoss", "kind": "giuo"}, "box")
