"""No two public names are so alike that one could be taken for the other."""

import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "detectors"


def test_no_two_public_classes_differ_by_case_or_folder_alone() -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                place = f"{file.relative_to(PACKAGE)}:{node.name}"
                found[node.name.lower().replace("_", "")].append(place)
    assert {name: places for name, places in found.items() if len(places) > 1} == {}
