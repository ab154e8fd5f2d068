"""A config from a file names only what describes a detector, and nothing else is ever called."""

import contextlib
import functools
import inspect
import random
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf
from torch import nn

from detectors.config.instantiate import made
from detectors.config.links import followed
from detectors.config.trust import ACTING, PROPOSING, READING, check_trusted, constructors

FORBIDDEN = [
    "torch.load",
    "torch.hub.load",
    "torch.nn.modules.module.torch.load",
    "numpy.load",
    "shutil.copyfile",
    "os.system",
    "subprocess.Popen",
    "hydra.utils.call",
    "hydra.utils.get_method",
    "omegaconf.OmegaConf.load",
    "detectors.build",
    "detectors.module.torch.hub.load",
    "detectors.engine.build.build",
    "detectors.config.compose.compose",
    "detectors.commands.train.main",
    "detectors.weights.darknet.write_weights",
    "detectors.weights.backbone.filled",
    "detectors.visualization.curves.draw",
    "detectors.callbacks.table.EpochTable",
    "lightning.pytorch.callbacks.ModelCheckpoint",
    "timm.models.load_state_dict",
    "torch.nn.functional.relu",
    "torch.nn.Module.load_state_dict",
    "detectors.detector.Detector.forward",
]


def described(target: str) -> dict[str, Any]:
    return {"model": {"neck": [{"x": {"_target_": target}}]}}


@pytest.mark.parametrize("target", [*FORBIDDEN, "mine.Neck", "builtins.exec", "__main__", "", 3])
def test_other_code_is_refused_by_name(target: Any) -> None:
    with pytest.raises(ValueError, match=r"the checkpoint asks for") as refusal:
        check_trusted(described(target), [])
    assert repr(target) in str(refusal.value)


@pytest.mark.parametrize(
    "word", ["os", "hydra", "detectors", "detectors.engine", "functools", "builtins"]
)
def test_no_word_opens_what_runs_other_code(word: str) -> None:
    opened = {"os": "os.system", "hydra": "hydra.utils.call", "functools": "functools.partial"}
    target = opened.get(word, {"builtins": "builtins.exec"}.get(word, "detectors.build"))
    with pytest.raises(ValueError, match="not to be trusted"):
        check_trusted(described(target), [word])


def test_a_word_opens_what_a_package_defines(own: ModuleType) -> None:
    for name in ("Layer", "Later", "function"):
        with pytest.raises(ValueError, match=r"add trust=\[own_package\]"):
            check_trusted(described(f"own_package.{name}"), [])
        check_trusted(described(f"own_package.{name}"), ["own_package"])
    for name in ("os.system", "Layer.forward", "system", "partial", "nothing"):
        with pytest.raises(ValueError, match="the checkpoint asks for"):
            check_trusted(described(f"own_package.{name}"), ["own_package"])
    check_trusted(described("own_package.function"), [], named={"own_package.function"})


def test_all_that_conf_names_is_there_and_only_describes() -> None:
    names = constructors()
    assert {"detectors.detector.Detector", "detectors.layers.norm.group_norm"} < names
    assert not [name for name in names if name.startswith(ACTING)]
    for name in names:
        check_trusted({"_target_": name}, [], reading=True)
        found = get_object(name)
        assert inspect.isclass(found) or inspect.isfunction(found)


def test_a_model_reads_no_data() -> None:
    readers = [n for n in constructors() if n.startswith(READING) and not n.startswith(PROPOSING)]
    assert "detectors.data.sources.coco.read_coco" in readers
    for name in readers:
        with pytest.raises(ValueError, match="the checkpoint asks for"):
            check_trusted({"_target_": name}, [])


def test_a_model_may_propose_boxes() -> None:
    """The methods of `detectors propose`, but not the readers and writers of their files."""
    for method in ("dense.DenseWindows", "selective_search.SelectiveSearch"):
        check_trusted({"_target_": f"detectors.data.proposals.{method}"}, [])
    with pytest.raises(ValueError, match="the checkpoint asks for"):
        check_trusted({"_target_": "detectors.data.proposals.files.read_proposals"}, [])


@pytest.mark.parametrize("target", ["torch.nn.CELU", "timm.layers.GroupNorm", "torch.nn.Conv2d"])
def test_layers_that_conf_does_not_name_are_trusted(target: str) -> None:
    check_trusted(described(target), [])


@pytest.mark.parametrize(
    "more",
    [
        {"_args_": ["resnet18", [32], True]},
        {"weights": "file.pth"},
        {"pretrained": True},
        {"checkpoint_path": "file.pth"},
    ],
)
def test_no_part_reads_a_file_for_a_checkpoint(more: dict[str, Any]) -> None:
    node = {"_target_": "detectors.backbones.timm.TimmBackbone", **more}
    with pytest.raises(ValueError, match="it may not"):
        check_trusted(node, [])
    check_trusted({"_target_": "detectors.coders.Delta", "weights": [1.0, 1.0, 1.0, 1.0]}, [])


def test_a_part_that_is_not_there_is_of_another_version() -> None:
    with pytest.raises(ValueError, match=r"heads\.old\.Head'.*another version"):
        check_trusted(described("detectors.heads.old.Head"), [])


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A package of the user's; one of its parts makes what it was handed as a node."""
    module = ModuleType("own_package")
    source = """
import os
from functools import partial
from os import system
from torch import nn
class Layer(nn.Module):
    def __init__(self, **parts):
        super().__init__()
class Later:
    def __init__(self, **parts):
        self.made = [hydra.utils.instantiate(part) for part in parts.values()
                     if isinstance(part, (dict, list))]
def function(**parts):
    return parts
"""
    exec(compile(source, "own_package", "exec"), vars(module))
    monkeypatch.setitem(sys.modules, "own_package", module)
    return module


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the forbidden constructors that were called, and of a resolver of the user's."""
    names: list[str] = []

    def probe(name: str, original: Callable) -> Callable:
        @functools.wraps(original)
        def record(*args: object, **kwargs: object) -> nn.Module:
            names.append(name)
            return nn.Identity()

        return record

    for name in PROBES:
        monkeypatch.setattr(name, probe(name, get_object(name)))
    OmegaConf.register_new_resolver("probe", lambda *_: names.append("resolver"))
    yield names
    OmegaConf.clear_resolver("probe")


PROBES = [
    "torch.hub.load",
    "numpy.load",
    "shutil.copyfile",
    "os.system",
    "detectors.build",
    "detectors.engine.build.build",
    "detectors.weights.darknet.write_weights",
    "detectors.visualization.curves.draw",
]
ALLOWED = ["torch.nn.Identity", "own_package.Later", "own_package.Layer", "own_package.function"]


class Fuzz:
    """Random configs of allowed and forbidden constructors, in all the places that Hydra knows."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def config(self) -> dict[str, Any]:
        """A model beside three nodes that links lead to."""
        nodes = {name: self.node(1) for name in ("zz", "yy", "xx")}
        return {"model": self.node(2), **nodes}

    def node(self, depth: int) -> dict[str, Any]:
        forbidden = self.random.random() < 0.06
        target = self.random.choice(PROBES if forbidden else ALLOWED)
        node = {"_target_": target, **self.flags()}
        for key in self.random.sample("abc", self.random.randrange(3)):
            node[key] = self.value(depth - 1)
        return node

    def flags(self) -> dict[str, Any]:
        known = {"_partial_": True, "_recursive_": False, "_convert_": "all", "_args_": ["${zz}"]}
        rates = {"_partial_": 0.2, "_recursive_": 0.2, "_convert_": 0.1, "_args_": 0.02}
        return {key: known[key] for key, rate in rates.items() if self.random.random() < rate}

    def value(self, depth: int) -> Any:
        if self.random.random() < 0.04:
            return self.random.choice(
                [r"\${yy}", "${probe:1}", "${oc.create:'{_target_: os.system}'}", ({"a": 1},)]
            )
        leaf = self.random.choice([1, "x", None, "${zz}", "${yy}", "${xx.a}", [1, "${xx}"]])
        if depth <= 0:
            return leaf
        return self.random.choice([leaf, self.node(depth), [self.node(depth)], {"k": leaf}])


def test_a_thousand_random_configs_call_nothing_forbidden(
    called: list[str], own: ModuleType
) -> None:
    """Of each, what is trusted is made, and nothing forbidden is called on the way."""
    fuzz, made_of, refused = Fuzz(seed=1), 0, 0
    for _ in range(1000):
        try:
            node = followed(fuzz.config(), "model")
            check_trusted(node, ["own_package"])
        except ValueError:
            refused += 1
            continue
        made_of += 1
        with contextlib.suppress(ValueError):  # of what is trusted, such as a list made alone
            made(node, "model")
    assert not called
    assert min(made_of, refused) > 200  # else it tries nothing


def test_the_probes_record_what_is_called(called: list[str]) -> None:
    for name in PROBES:
        get_object(name)()
    OmegaConf.create({"a": "${probe:1}"}).a  # noqa: B018
    assert called == [*PROBES, "resolver"]
