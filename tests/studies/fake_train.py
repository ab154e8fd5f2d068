"""Behaves to a runner as `detectors train` does, in milliseconds: words say how it ends.

python fake_train.py fate=done epochs=3 pause=0.1 key=KEY seed=1 hydra.run.dir=FOLDER
"""

import json
import math
import os
import sys
import time
from pathlib import Path

said = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
folder = Path(said["hydra.run.dir"])
last = folder / "checkpoints" / "last.ckpt"
fate = said.get("fate", "done")
epochs = int(said.get("epochs", said.get("trainer.max_epochs", 1)))
rate = said.get("optimizer.lr")  # 0.001 is the best
ap = int(said["seed"]) / 10 if rate is None else 0.5 - 0.1 * abs(math.log10(float(rate)) + 3)
rows = ["epoch,val/AP"]
begun = {
    "format": 1,
    "state": "running",
    "reason": None,
    "exit_code": None,
    "error": None,
    "key": folder.name,
    "words": sys.argv[1:],
    "code": {},
    "host": os.uname().nodename,
    "pid": os.getpid(),
    "threads": int(os.environ["OMP_NUM_THREADS"]),
    "tracked_as": [os.environ.get("DETECTORS_STUDY"), os.environ.get("DETECTORS_RUN")],
    "ended": None,
}


def write(**content: object) -> None:
    beside = folder / ".part"
    beside.write_text(json.dumps({**begun, **content}))
    os.replace(beside, folder / "run.json")


if fate == "refused":
    sys.exit("this model does not use 'neck'")
rows += [f"{epoch},{ap * (epoch + 1) / epochs}" for epoch in range(epochs)]
done = int(last.read_text()) if "ckpt_path" in said else 0
last.parent.mkdir(parents=True, exist_ok=True)
with (folder.parent / "lives.txt").open("a") as lives:
    lives.write(f"{folder.name} {done}\n")
write()
for epoch in range(done, epochs):
    time.sleep(float(said.get("pause", 0)))
    last.with_name("part").write_text(str(epoch + 1))
    os.replace(last.with_name("part"), last)
    (folder / "metrics.part").write_text("\n".join(rows[: epoch + 2]) + "\n")
    os.replace(folder / "metrics.part", folder / "metrics.csv")
    write(epochs=epoch + 1)
if fate == "raises":
    write(state="failed", reason="broken", error="RuntimeError", ended="now")
    sys.exit("detectors/x.py:3: unexpected RuntimeError: broken")
if fate == "memory":
    sys.exit("torch.OutOfMemoryError: CUDA out of memory")
if fate == "diverges":
    write(state="diverged", reason="the loss is not finite", exit_code=1, ended="now")
    sys.exit(1)
if fate == "once" and "ckpt_path" not in said:
    sys.exit("detectors/x.py:3: unexpected RuntimeError: a file server that was away")
(folder / "metrics.json").write_text(json.dumps({"AP": ap}))
write(state="done", exit_code=0, metrics={"AP": ap}, ended="now")
