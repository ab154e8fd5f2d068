"""Settings that all loaders share: batches, worker processes and memory."""

from collections.abc import Callable
from typing import Any

import cv2
import torch

from detectors.data.ranges import at_least, check


def check_loading(batch_size: int, num_workers: int) -> None:
    """Refuses numbers with which there is no batch, or nobody to prepare it.

    Raises:
        ValueError: `batch_size` is below 1, or `num_workers` below 0.
    """
    check("data", at_least("batch_size", batch_size, 1), at_least("num_workers", num_workers, 0))


def loader_arguments(
    batch_size: int, num_workers: int, collate: Callable[..., Any]
) -> dict[str, Any]:
    """Arguments of a `DataLoader`.

    Args:
        batch_size: pictures per device.
        num_workers: processes that prepare batches; 0: the main one does.
        collate: makes a batch of samples.
    """
    return {
        "batch_size": batch_size,
        "num_workers": num_workers,
        "collate_fn": collate,
        "worker_init_fn": _one_thread,
        "persistent_workers": num_workers > 0,
        "pin_memory": torch.cuda.is_available(),
    }


def _one_thread(worker: int) -> None:
    """Keeps OpenCV from starting as many threads as there are cores in every worker."""
    cv2.setNumThreads(0)
