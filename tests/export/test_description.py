"""What a file says of itself is enough to make its resize again."""

import pytest

from detectors.data.augment.transforms import (
    Letterbox,
    LetterboxCorner,
    ShorterEdge,
    Stretch,
)
from detectors.export.description import Description, described, texts


@pytest.mark.parametrize(
    "resize",
    [
        LetterboxCorner([96, 128]),
        Letterbox([96, 128]),
        Stretch(64),
        ShorterEdge(600, 1.66667),
        ShorterEdge(50),
    ],
)
def test_the_same_resize_is_made_again(resize) -> None:
    told = Description(("a cat", "dog"), (3, 90), resize, True, 16)
    again = described(texts(told), "file")
    assert again._replace(resize=resize) == told
    assert type(again.resize) is type(resize)
    assert again.resize.canvas == resize.canvas
    for size in ((480, 640), (1000, 30), (7, 7)):
        assert again.resize.picture_size(*size) == resize.picture_size(*size)


def test_a_resize_of_the_users_is_refused() -> None:
    class Mine:
        canvas = (64, 64)

    with pytest.raises(ValueError, match="Mine resizes pictures by a rule that a file cannot"):
        texts(Description(("a",), (1,), Mine(), True, 32))  # type: ignore[arg-type]


def test_a_file_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="its format is 'older', expected"):
        described({"format": "older"}, "file")
