"""The benchmark of the loader runs, and counts with and without the cache."""

from experiments.benchmark import main


def test_both_ways_are_measured() -> None:
    words = ["data.train.read.count=16", "augment=flip", "trick=[mosaic]"]
    options = "--data scenes_easy --size 64 --batch 8 --workers 0 --seconds 0"
    results = main(["loader", *options.split(), *words])
    assert list(results) == ["uncached", "cached"]
    for found in results.values():
        assert found["images/s"] > 0
        assert len(found) == 7
    assert results["cached"]["pictures decoded per sample"] == 0
    assert 0.5 < results["uncached"]["pictures decoded per sample"] <= 1  # one block of 16 pictures
