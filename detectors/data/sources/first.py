"""Takes the first few pictures of a source."""

import numpy as np

from detectors.data.sources.base import Source, View


class First(View):
    """The first pictures of a source that have an object which is neither crowd nor difficult.

    Args:
        source: of any pictures; at least one must have such an object.
        count: pictures that are taken, or all there are if these are fewer.
    """

    def __init__(self, source: Source, count: int) -> None:
        truth, owners = source.annotations, source.annotations.owners()
        counted = owners[~(truth.crowd | truth.difficult)]
        rows = np.unique(counted)[:count]
        objects = np.isin(owners, rows)
        sizes = np.diff(truth.offsets)[rows]
        chosen = ("boxes", "labels", "crowd", "difficult", "areas")
        kept = truth._replace(
            image_ids=truth.image_ids[rows],
            sizes=truth.sizes[rows],
            offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            **{name: getattr(truth, name)[objects] for name in chosen},
        )
        super().__init__(source, kept, rows)
