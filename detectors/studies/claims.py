"""Claims a run for one process, among all that share a store on a file system."""

import contextlib
import fcntl
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from detectors.files import whole_file

BEAT = 20.0  # seconds from one heartbeat to the next
STILL = 300.0  # seconds without a heartbeat after which a claim of another machine is free


class Claim(NamedTuple):
    """Who runs a run."""

    token: str  # of this claim alone
    host: str
    boot: str  # of the host: process ids are those of this boot
    pid: int
    born: str  # when the process started, in ticks since the boot
    beat: int  # counted up while it lives: clocks of machines that share files disagree


def read(file: Path) -> Claim | None:
    """The claim in a file; None where there is none."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Claim(**json.loads(file.read_text(encoding="utf-8")))
    return None


class Watch:
    """Tells living claims from dead ones."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}  # beat of a claim, and since when

    def alive(self, claim: Claim) -> bool:
        """Whether the process lives; of another machine, whether its heart beats.

        A heart that was seen once only counts as beating.
        """
        if claim.host == socket.gethostname():
            return claim.boot == _boot() and _born(claim.pid) == claim.born
        now = time.monotonic()
        beat, since = self._seen.get(claim.token, (None, now))
        if beat != claim.beat:
            self._seen[claim.token] = (claim.beat, now)
            return True
        return now - since < STILL


def living(host: str, pid: int) -> bool:
    """Whether a process of that number is on this machine, as far as it is asked about."""
    return host == socket.gethostname() and _born(pid) is not None


def take(file: Path, watch: Watch, dead: str | None = None) -> Claim | None:
    """A new claim of this process, in a file that has none or a dead one; None: another has it.

    Args:
        dead: token of a claim that the caller knows to be dead.
    """
    pid = os.getpid()
    claim = Claim(uuid.uuid4().hex, socket.gethostname(), _boot(), pid, _born(pid) or "", 0)
    if _linked(file, claim):
        return claim
    with _alone(file.parent):  # of two that find a dead claim, one removes it
        old = read(file)
        if old is not None and old.token != dead and watch.alive(old):
            return None
        file.unlink(missing_ok=True)
        return claim if _linked(file, claim) else None


def beat(file: Path, claim: Claim) -> Claim | None:
    """The claim one heartbeat later; None: this process stood still, and another took it."""
    found = read(file)
    if found is None or found.token != claim.token:
        return None
    later = claim._replace(beat=claim.beat + 1)
    with whole_file(file) as lines:
        json.dump(later._asdict(), lines)
    return later


def release(file: Path, claim: Claim) -> None:
    """Free the run, unless another has it by now."""
    found = read(file)
    if found is not None and found.token == claim.token:
        file.unlink(missing_ok=True)


def _linked(file: Path, claim: Claim) -> bool:
    """Whether the claim got the name, with all of its content at once."""
    beside = file.with_name(f".{file.name}.{claim.token}")
    beside.write_text(json.dumps(claim._asdict()), encoding="utf-8")
    try:
        os.link(beside, file)
        return True
    except FileExistsError:
        return False
    finally:
        beside.unlink()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _boot() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _born(pid: int) -> str | None:
    """When the process started; None where there is none, or only its remains."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return _asked(pid)
    return None if told[0] == "Z" else told[19]


def _asked(pid: int) -> str | None:
    """The same where there is no /proc: whether the process is there."""
    if Path("/proc/self").exists():
        return None
    with contextlib.suppress(OSError):
        os.kill(pid, 0)
        return ""
    return None
