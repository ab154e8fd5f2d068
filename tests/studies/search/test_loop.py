"""A search belongs to one process, which is known by its heartbeat."""

from pathlib import Path

import pytest

from detectors.studies import claims
from detectors.studies.search import loop

OTHER = claims.Claim("token", "another machine", "boot", 1, "born", 3)


def test_a_search_of_a_machine_that_is_gone_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "STILL", 0.2)
    monkeypatch.setattr(loop, "LOOK", 0.05)
    assert claims._linked(tmp_path / loop.CLAIM, OTHER)
    with loop.alone(tmp_path) as beat:
        beat()
    assert not (tmp_path / loop.CLAIM).exists()


def test_one_whose_heart_beats_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def beats(_: float) -> None:
        (tmp_path / loop.CLAIM).unlink()
        assert claims._linked(tmp_path / loop.CLAIM, OTHER._replace(beat=4))

    assert claims._linked(tmp_path / loop.CLAIM, OTHER)
    monkeypatch.setattr(loop.time, "sleep", beats)
    with pytest.raises(ValueError, match="another process runs this search"), loop.alone(tmp_path):
        pass
