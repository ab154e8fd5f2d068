"""How Sphinx builds the site: `make docs`; with `-t quick` without the reference, and torch."""

import inspect
import re
import sys
import tomllib
import typing
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
QUICK = tags.has("quick")  # noqa: F821  (Sphinx gives it)
PARTS = (  # of the package that the reference has a page for
    *("structures", "detector", "backbones", "necks", "heads", "priors", "coders", "assigners"),
    *("losses", "scores", "postprocess", "layers", "ops", "data/augment", "tricks", "tta"),
    *("optim", "metrics", "random_streams", "darknet"),
)
OURS = re.compile(r"(detectors/[\w/]+)\.py::([\w.]+)")  # how pages name a class or function

project = "Lightning Detectors"
author = copyright = "the authors of Lightning Detectors"
version = release = PROJECT["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = project
html_copy_source = html_show_sourcelink = False
exclude_patterns = ["api*"] if QUICK else []
default_role = "literal"  # docstrings have single backticks
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!detectors\.).*")]  # pages of others are not at hand
suppress_warnings = ["autodoc.mocked_object"]

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

# Of what costs seconds to import, docstrings need nothing.
autodoc_mock_imports = ["albumentations", "lightning", "scipy", "timm"]
autodoc_mock_imports += ["torchmetrics", "torchvision"]
autodoc_default_options = {"members": True, "member-order": "bysource", "show-inheritance": True}
autodoc_inherit_docstrings = False
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False


def setup(app: Any) -> None:
    """Write the reference's pages, link names of ours, let tuples and contracts tell fields."""
    if not QUICK:
        _write_reference()
        app.connect("doctree-read", _link_names)
    app.connect("autodoc-skip-member", _skip, priority=400)
    app.connect("autodoc-process-docstring", _tell_fields, priority=400)


def _write_reference() -> None:
    """`api/PART.md` for each part of the package, written only where it changes."""
    (DOCS / "api").mkdir(exist_ok=True)
    pages = {"detectors": _section("detectors", "#")}
    for part in PARTS:
        pages[part.replace("/", "_")] = _page_of(ROOT / "detectors" / part)
    for name, text in pages.items():
        file = DOCS / "api" / f"{name}.md"
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def _page_of(part: Path) -> str:
    first, *rest = [part, *sorted(part.glob("[!_]*.py"))]
    return _section(_module(first), "#") + "".join(_section(_module(f), "##") for f in rest)


def _module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


def _section(module: str, heading: str) -> str:
    return f"{heading} {module}\n\n```{{eval-rst}}\n.. automodule:: {module}\n```\n\n"


def _link_names(app: Any, doctree: nodes.document) -> None:
    """Link every literal like `detectors/losses/box.py::IoULoss` to its place in the reference."""
    for literal in list(doctree.findall(nodes.literal)):
        if found := OURS.fullmatch(literal.astext()):
            target = ".".join([*found[1].removesuffix("/__init__").split("/"), found[2]])
            link = pending_xref("", refdomain="py", reftype="obj", reftarget=target, refwarn=False)
            link["refdoc"] = app.env.docname
            literal.replace_self(link)
            link += literal


def _skip(app: Any, what: str, name: str, value: Any, skip: bool, options: Any) -> bool | None:
    """Fields of tuples are told by the tuple."""
    return True if type(value).__name__ == "_tuplegetter" else None


def _tell_fields(
    app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]
) -> None:
    """Add to the docstring of a class what its fields' comments or annotations say."""
    found = _fields(value) if what == "class" and isinstance(value, type) else {}
    if found:
        lines += ["Attributes:", *(f"    {field}: {told}" for field, told in found.items()), ""]


def _fields(kind: type) -> dict[str, str]:
    if hasattr(kind, "_fields"):
        rows = re.findall(r"^    (\w+): [^#\n]+(?:# (.*))?$", inspect.getsource(kind), re.MULTILINE)
        return dict(rows)
    own = inspect.get_annotations(kind)
    hints = {k: v for k, v in own.items() if typing.get_origin(v) is typing.Annotated}
    return {field: str(hint.__metadata__[0]) for field, hint in hints.items()}
