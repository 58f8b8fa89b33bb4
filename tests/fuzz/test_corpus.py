"""The damaged pictures of tests.fuzz.corpus."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from faceattr_aio.uploads.formats import sniff
from tests.fuzz.corpus import keep, mended, picture
from tests.fuzz.seeds import seeds

NUMBERS = range(200)


def test_a_number_always_makes_the_same_input_and_different_numbers_make_different_inputs() -> None:
    made = [picture(number) for number in NUMBERS]
    assert [picture(number) for number in reversed(NUMBERS)] == made[::-1]
    assert len(set(made)) > 180


def test_pictures_of_every_kind_are_damaged_and_some_stay_intact() -> None:
    kinds = Counter(sniff(picture(number)[:16]) for number in NUMBERS)
    assert min(kinds[kind] for kind in ("jpeg", "png", "webp", None)) > 3
    assert 0 < len(set(seeds()) & {picture(number) for number in NUMBERS}) < 40


def test_a_damaged_png_with_corrected_checksums_is_decoded() -> None:
    damaged = bytearray(next(data for data in seeds() if sniff(data) == "png"))
    assert mended(damaged) == damaged
    damaged[23] -= 1  # the height is one row less
    assert cv2.imdecode(np.frombuffer(damaged, np.uint8), cv2.IMREAD_COLOR) is None
    assert cv2.imdecode(np.frombuffer(mended(damaged), np.uint8), cv2.IMREAD_COLOR) is not None


def test_a_failed_input_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.corpus.KEPT", tmp_path / "kept")
    assert keep(7, b"x").read_bytes() == b"x"
