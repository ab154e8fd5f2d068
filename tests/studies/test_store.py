"""The store says what state a run is in, and a run belongs to one process at a time."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import pytest

from detectors.studies import claims
from detectors.studies.store import Store, claim_of, set_aside, write_record

KEY = "0123456789abcdef"
DONE = {"format": 1, "state": "done", "key": KEY, "code": {}, "reason": None, "host": "x", "pid": 1}


def test_states_without_a_claim(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.run(KEY).state == "missing"
    for state, told in {"running": "lost", "done": "done", "failed": "failed"}.items():
        write_record(tmp_path / KEY, {**DONE, "state": state})
        assert store.run(KEY).state == told


def test_a_run_that_has_become_another_does_not_count(tmp_path: Path) -> None:
    other = "f" * 16
    write_record(tmp_path / KEY, {**DONE, "key": other})
    found = Store(tmp_path).run(KEY)
    assert found.state == "failed"
    assert found.reason.startswith(f"it has become the run {other}, because configs or data")


def test_a_run_is_stale_by_the_files_that_changed(tmp_path: Path) -> None:
    code = {f"detectors/gone{i}.py": "0" for i in range(5)}
    write_record(tmp_path / KEY, {**DONE, "code": code, "git_commit": "abcdef"})
    run = Store(tmp_path).run(KEY)
    assert run.state == "stale"
    assert run.reason.endswith("and 2 more")
    assert Store(tmp_path, any_code=True).run(KEY).state == "done"
    assert Store(tmp_path, commit="abc").run(KEY).state == "done"
    assert Store(tmp_path, commit="123").run(KEY).state == "stale"


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ("M docs/configs.md\n M detectors/other.py", "done"),
        ("M docs/configs.md\n M detectors/gone.py", "stale"),
        ("M detectors/gone.py", "stale"),
        (None, "done"),
    ],
)
def test_a_run_of_a_changed_checkout_is_not_of_its_commit(
    changes: str | None, state: str, tmp_path: Path
) -> None:
    facts = {"code": {"detectors/gone.py": "0"}, "git_commit": "abcdef", "git_changes": changes}
    write_record(tmp_path / KEY, {**DONE, **facts})
    assert Store(tmp_path, commit="abc").run(KEY).state == state


def test_one_of_many_gets_the_claim_of_a_dead_process(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    file = tmp_path / "a.claim"
    own = claims.take(tmp_path / "own.claim", claims.Watch())
    assert own is not None
    file.write_text(json.dumps(own._replace(token="old", pid=gone.pid)._asdict()))
    got: list[claims.Claim | None] = []
    threads = [
        Thread(target=lambda: got.append(claims.take(file, claims.Watch()))) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([claim for claim in got if claim is not None]) == 1


def test_a_process_with_the_number_of_a_dead_one_is_not_taken_for_it(tmp_path: Path) -> None:
    claim = claims.take(tmp_path / "a.claim", claims.Watch())
    assert claim is not None
    assert claims.Watch().alive(claim)
    assert not claims.Watch().alive(claim._replace(born="1"))
    assert not claims.Watch().alive(claim._replace(boot="another"))


def test_a_claim_of_elsewhere_lives_while_its_heart_beats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = claims.take(tmp_path / "a.claim", claims.Watch())
    assert claim is not None
    there, watch, now = claim._replace(host="elsewhere"), claims.Watch(), time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert watch.alive(there)
    now += claims.STILL - 1
    assert watch.alive(there)
    assert watch.alive(there._replace(beat=1))
    now += claims.STILL - 1
    assert watch.alive(there._replace(beat=1))
    now += 2
    assert not watch.alive(there._replace(beat=1))


def test_who_lost_a_claim_neither_beats_nor_frees_it(tmp_path: Path) -> None:
    file = tmp_path / "a.claim"
    claim = claims.take(file, claims.Watch())
    assert claim is not None
    later = claims.beat(file, claim)
    assert later is not None
    assert later.beat == 1
    file.write_text(json.dumps(claim._replace(token="another")._asdict()))
    assert claims.beat(file, later) is None
    claims.release(file, later)
    assert file.is_file()


def test_old_folders_get_the_next_number(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / KEY).mkdir()
        assert set_aside(tmp_path / KEY) == tmp_path / f"{KEY}.{number}"
    assert set_aside(tmp_path / KEY) is None


def test_a_sweep_is_taken_over_and_stays_where_it_was(tmp_path: Path) -> None:
    sweep, store = tmp_path / "sweep", Store(tmp_path / "store")
    write_record(sweep / "0", DONE)
    (sweep / "0" / "checkpoints").mkdir()
    (sweep / "0" / "checkpoints" / "last.ckpt").write_text("weights")
    (sweep / "0" / "log.txt").write_text("one\n")
    write_record(sweep / "1", {**DONE, "key": "b" * 16, "state": "failed", "reason": "broken"})
    mine = {"state": "running", "host": os.uname().nodename, "pid": os.getpid()}
    write_record(sweep / "2", {**DONE, "key": "c" * 16, **mine})
    told = store.adopt(sweep)
    assert [line.rpartition(": ")[2] for line in told] == [
        f"taken as {KEY}",
        "broken",
        "it is still running",
    ]
    assert store.run(KEY).state == "done"
    weights = [f / "checkpoints" / "last.ckpt" for f in (sweep / "0", store.folder / KEY)]
    assert weights[0].stat().st_ino == weights[1].stat().st_ino
    with (sweep / "0" / "log.txt").open("a") as log:
        log.write("two\n")
    assert (store.folder / KEY / "log.txt").read_text() == "one\n"
    assert store.adopt(sweep)[0].endswith(f"{KEY} is there already")
    assert not list(store.folder.glob("*.claim"))


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no run\.json below it"):
        Store(tmp_path).adopt(tmp_path / "nothing")


def test_a_claimed_run_is_running_here(tmp_path: Path) -> None:
    store = Store(tmp_path)
    claim = claims.take(claim_of(tmp_path / KEY), claims.Watch())
    assert claim is not None
    assert store.run(KEY)[1:3] == ("running", f"process {os.getpid()} here")
    other = claim._replace(host="elsewhere")
    claim_of(tmp_path / KEY).write_text(json.dumps(other._asdict()))
    assert store.run(KEY).reason == f"process {os.getpid()} on elsewhere"
