"""The site builds without a warning; `make test` builds it without the reference."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_whole_site_builds_and_links_our_names(tmp_path: Path) -> None:
    command = ["-m", "sphinx", "-q", "-W", "--keep-going", str(ROOT / "docs"), str(tmp_path)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "families" / "fcos.html").read_text(encoding="utf-8")
    assert 'href="../api/losses.html#detectors.losses.box.IoULoss"' in page
    fields = (tmp_path / "api" / "structures.html").read_text(encoding="utf-8")
    assert "float32, xyxy pixels" in fields  # of the comment beside Sample.boxes
