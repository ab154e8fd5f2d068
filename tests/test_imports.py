"""Imports go down the stair only, so that a part can be read without what stands above it."""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STAIR = (
    {
        *("structures", "contracts", "ranges", "random_streams", "files", "measuring", "ops"),
        "graph_cache",
        "average_precision",
        *("config", "darknet"),
    },
    {"layers", "priors", "coders", "scores", "assigners", "losses", "postprocess"},
    {"backbones", "necks"},
    {"heads"},
    {"detector", "fitted"},
    {"data", "tricks", "metrics", "optim", "visualization", "weights", "studies", "report"},
    {"clock", "epoch_means", "fused_steps", "module", "tta"},
    {"callbacks", "classification"},
    {"engine"},
    {"export"},
    {"commands"},
    {"__main__", "__init__", "failures"},
    {"experiments"},
)
STEP = {unit: step for step, units in enumerate(STAIR) for unit in units}
FILES = sorted((ROOT / "detectors").rglob("*.py")) + sorted((ROOT / "experiments").rglob("*.py"))


def _unit(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return parts[0] if parts[0] == "experiments" else parts[1]


def _imported(file: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import, those inside functions too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: write the import in full"
            yield from ((node.lineno, f"{node.module}.{name.name}") for name in node.names)


def _step(dotted: str) -> int | None:
    """Of an import; None where it is not ours."""
    package, _, rest = dotted.partition(".")
    if package == "experiments":
        return STEP["experiments"]
    if package != "detectors":
        return None
    return STEP.get(rest.partition(".")[0], STEP["__init__"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_go_down_the_stair(file: Path) -> None:
    assert _unit(file) in STEP, f"give {_unit(file)} its step in STAIR"
    own = STEP[_unit(file)]
    upwards = [
        f"line {line}: {name}"
        for line, name in _imported(file)
        if (step := _step(name)) is not None and step > own
    ]
    assert not upwards


def test_no_two_folders_import_each_other() -> None:
    """Nor do more of them in a circle, on one step or over several."""
    imports: dict[str, set[str]] = {unit: set() for unit in STEP}
    for file in FILES:
        ours = [name for _, name in _imported(file) if _step(name) is not None]
        found = {_unit_of(name) for name in ours} & STEP.keys()
        imports[_unit(file)] |= found - {_unit(file), "__init__"}
    graphlib.TopologicalSorter(imports).prepare()


def test_no_two_files_import_each_other() -> None:
    modules = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in FILES}
    imports = {
        module: {name for _, dotted in _imported(file) if (name := _module(dotted, modules))}
        for module, file in modules.items()
    }
    graphlib.TopologicalSorter({m: found - {m} for m, found in imports.items()}).prepare()


def _unit_of(dotted: str) -> str:
    package, _, rest = dotted.partition(".")
    return "experiments" if package == "experiments" else rest.partition(".")[0]


def _module(dotted: str, modules: dict[str, Path]) -> str | None:
    """The file that an import reads first of all: itself, or what it takes a name from."""
    for name in (dotted, dotted.rpartition(".")[0]):
        for module in (name, f"{name}.__init__"):
            if module in modules:
                return module
    return None
