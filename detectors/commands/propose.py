"""Write boxes that may hold objects to a file, for a second stage, and tell their recall."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from detectors.callbacks.progress import Steps
from detectors.config.instantiate import instantiate
from detectors.data.module import DetectionData
from detectors.data.proposals.feeding import PictureProposals
from detectors.data.proposals.files import ProposalFile, known_beside
from detectors.data.proposals.making import Making, ProposalStore, made, work_of
from detectors.data.proposals.recall import THRESHOLDS, Coverage, coverage
from detectors.data.sources.annotations import examples
from detectors.data.sources.base import Source
from detectors.engine.build import configured_job
from detectors.engine.console import console

_log = logging.getLogger(__name__)


def main(cfg: DictConfig) -> Path:
    """Make what is missing, write the file and print a table for each split; the file."""
    cfg = configured_job(cfg)
    data, method = instantiate(cfg, "data"), instantiate(cfg, "method")
    sources = {split: data.source(split) for split in cfg.splits}
    node = OmegaConf.to_container(cfg.method, resolve=True)
    store = ProposalStore(Path(cfg.file), {"method": node, "count": cfg.count, "seed": cfg.seed})
    work = work_of(sources, store)
    making = Making(work, method, cfg.count, cfg.seed)
    make(making, data.num_workers, store, allowed(data, sources))
    proposals = store.finish()
    for split, source in sources.items():
        console().print(table(split, covered(proposals, source, split, store.file)))
    _log.info("%s: %d pictures, %d boxes", store.file, len(proposals.keys), len(proposals.boxes))
    return store.file


def allowed(data: DetectionData, sources: Mapping[str, Source]) -> list[tuple[Source, int]]:
    """How many pictures of each split may be unreadable: as many as in a training, else none."""
    tallies = ((source, data.tally(split)) for split, source in sources.items())
    return [(source, 0 if tally is None else tally.most) for source, tally in tallies]


def make(
    making: Making, processes: int, store: ProposalStore, limits: Sequence[tuple[Source, int]]
) -> None:
    """Fill the store; what is there when an error or a signal comes is kept.

    Args:
        limits: of each source, how many of its pictures may be unreadable.

    Raises:
        ValueError: there are more.
    """
    bar, seconds, lost = Steps(Console(stderr=True)), 0.0, list[str]()
    most = {id(source): count for source, count in limits}
    bar.open("proposing", len(making))
    try:
        for done, item in enumerate(made(making, processes), start=1):
            store.add(item)
            seconds += item.seconds
            if item.reason is not None:
                lost.append(item.reason)
                most[id(making.work[done - 1][0])] -= 1
                _check(lost, limits, most)
            if bar.due():
                bar.show(done, f"{seconds / done:.2f} CPU s a picture")
    finally:
        bar.close()
        store.keep()
    if len(making):
        _log.info("%d pictures, %.2f CPU s each", len(making), seconds / len(making))
    if lost:
        _log.warning("%d pictures have no proposals: %s", len(lost), examples(lost))


def _check(
    lost: Sequence[str], limits: Sequence[tuple[Source, int]], left: Mapping[int, int]
) -> None:
    """Refuse more unreadable pictures of a source than it may have."""
    for source, count in limits:
        if left[id(source)] < 0:
            raise ValueError(
                f"{len(lost)} pictures cannot be read, but of this split {count} may be, as many "
                f"as a training bears by data.max_unreadable, an evaluation none: {examples(lost)}"
            )


def covered(proposals: ProposalFile, source: Source, split: str, file: Path) -> list[Coverage]:
    """The figures of a split."""
    own = PictureProposals(proposals, source, f"{file} ({split})", known_beside(file))
    ids = source.annotations.image_ids.tolist()
    return coverage([own.boxes(number) for number in ids], source.annotations)


def table(split: str, figures: list[Coverage]) -> Table:
    """A row for each number of proposals."""
    told = Table(title=f"{split}: objects that a proposal overlaps")
    recalls = [f"IoU {threshold}" for threshold in THRESHOLDS]
    for name in ("proposals", "of a picture", *recalls, "ABO", "MABO"):
        told.add_column(name, justify="right")
    for row in figures:
        shares = [f"{value:.3f}" for value in (*row.recall, row.abo, row.mabo)]
        told.add_row(str(row.most), f"{row.mean_count:.0f}", *shares)
    return told
