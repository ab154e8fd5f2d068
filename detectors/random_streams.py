"""Random numbers as a function of the seed, the place in the run and a name, never of the process.

What one part of a run draws moves nothing that another one draws, whatever worker does it and
however often the run was interrupted. Names that count as nothing in the table below share their
numbers where seed and key agree, because these are the numbers that they have always had; they
draw for different purposes. All other names have numbers of their own.
"""

import zlib

import numpy as np

# What these names count as; every other name counts as its CRC-32. None of them can be mistaken for
# the name of a transform or mix, which are words of a config.
_COUNTS_AS: dict[str, tuple[int, ...]] = {
    "order of an epoch": (),
    "side of a canvas": (0x6D73,),
    "repeats of an epoch": (0x6362,),
    "layout of a scene": (0,),
    "pixels of a scene": (1,),
    "textures of scenes": (),
    "label noise": (),
    "anchor clustering": (),
    "step on the device": (),
    "class cutmix": (),
}


def stream(seed: int, *key: int, name: str) -> np.random.Generator:
    """A generator that is the same wherever and whenever it is asked for.

    Args:
        seed: any integer that is not negative.
        key: where in the run, such as epoch and index; none is negative.
        name: of what is drawn.
    """
    return np.random.default_rng(_sequence(seed, key, name))


def torch_seed(seed: int, *key: int, name: str) -> int:
    """A number in [0, 2**63) to seed torch's generators with, from the same arguments."""
    word = _sequence(seed, key, name).generate_state(1, np.uint64)[0]
    return int(word >> np.uint64(1))


def _sequence(seed: int, key: tuple[int, ...], name: str) -> np.random.SeedSequence:
    named = _COUNTS_AS.get(name, (zlib.crc32(name.encode()),))
    words = (seed, *key, *named)
    if max(words) < 2**32:  # the same numbers in half the time
        return np.random.SeedSequence(np.array(words, np.uint32))
    return np.random.SeedSequence(words)
