"""Hands each picture of a data set its proposals, moved as the picture was."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from detectors.data.proposals.files import ProposalFile, picture_keys
from detectors.data.sources.annotations import examples
from detectors.data.sources.base import Source, path_of
from detectors.structures import Sample


class PictureProposals:
    """The proposals of each picture of a source.

    Args:
        proposals: of these pictures, and perhaps of others.
        source: the pictures.
        where: names the file in messages.
        known: keys by stamps; files that have one of these are not read.

    Raises:
        ValueError: the file is of other data, or lacks pictures; names some.
    """

    def __init__(
        self,
        proposals: ProposalFile,
        source: Source,
        where: str,
        known: Mapping[int, int] = MappingProxyType({}),
    ) -> None:
        keys = picture_keys(source, dict(known))
        rows = np.searchsorted(proposals.keys, keys)
        self._check(np.isin(keys, proposals.keys), source, where)
        order = np.argsort(source.annotations.image_ids, kind="stable")
        self.proposals = proposals
        self.ids, self.rows = source.annotations.image_ids[order], rows[order]
        self.most = int(np.diff(proposals.offsets)[rows].max(initial=1))

    @staticmethod
    def _check(there: np.ndarray, source: Source, where: str) -> None:
        if not there.any():
            raise ValueError(
                f"{where} is of other data: it has none of these {len(there)} pictures; make one "
                "for these data with `detectors propose`"
            )
        if not there.all():
            missing = np.flatnonzero(~there).tolist()
            names = [path_of(source, row) or f"picture {row}" for row in missing]
            raise ValueError(
                f"{where} lacks {len(missing)} of {len(there)} pictures: {examples(names)}; "
                "`detectors propose` with the same words and file=FILE adds them"
            )

    def boxes(self, image_id: int) -> np.ndarray:
        """[k, 4] float32 xyxy pixels of the original picture, by its id."""
        return self.proposals.of(int(self.rows[np.searchsorted(self.ids, image_id)]))


def with_proposals(sample: Sample, boxes: np.ndarray, smallest: float = 1.0) -> Sample:
    """The sample with the proposals of its picture, as `to_original` says that it was moved.

    They are cut to the part of the picture that shows.

    Args:
        boxes: [k, 4] in pixels of the original picture.
        smallest: pixels of the sample; boxes of which less shows in a direction are left out.

    Raises:
        ValueError: the way back to the original is unknown.
    """
    scale, shift = np.split(sample.to_original.astype(np.float64), 2)
    if not np.isfinite(sample.to_original).all():
        raise ValueError(
            "a transform moved the picture in a way that proposals of a file cannot follow: leave "
            "it out, or leave data.proposals"
        )
    corners = (boxes.reshape(-1, 2, 2) - shift) / scale
    ordered = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    cut = ordered.clip(sample.frame[[0, 1, 0, 1]], sample.frame[[2, 3, 2, 3]])
    shown = (cut[:, 2:] - cut[:, :2] >= smallest).all(axis=1)
    return sample._replace(proposals=cut[shown].astype(np.float32))
