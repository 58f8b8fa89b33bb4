"""Pictures through the whole pipeline."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from faceattr_aio.errors import UnreadableImage
from faceattr_aio.pipeline import Clock
from faceattr_aio.pipelines.anime import AnimeOptions
from faceattr_aio.pipelines.anime.generator import convert
from faceattr_aio.pipelines.anime.predict import AnimePipeline
from faceattr_aio.pipelines.imaging import Pixels
from tests.pipelines.anime.conftest import LoadAnime
from tests.support.pictures import with_orientation

pytestmark = pytest.mark.pixels


def draw(pipeline: AnimePipeline, file: Path, style: str = "mine", max_side: int = 512) -> Pixels:
    """The pixels of the answer, which must not have been damaged."""
    pipeline.predict(file, AnimeOptions(style=style, max_side=max_side), Clock())
    drawn = cv2.imdecode(np.frombuffer(pipeline.encode({}, "image/png", file), np.uint8), cv2.IMREAD_UNCHANGED)
    assert drawn is not None
    return np.asarray(drawn, np.uint8)


def save(file: Path, pixels: Pixels) -> Path:
    assert cv2.imwrite(str(file), pixels)
    return file


def test_what_was_drawn_is_told_and_how_long_each_stage_took(pipeline: AnimePipeline, png_file: Path) -> None:
    clock = Clock()
    result = pipeline.predict(png_file, AnimeOptions(style="mine", max_side=512), clock)
    assert result == {"width": 512, "height": 512, "style": "mine"}
    assert list(clock.laps) == ["decode", "convert"]


def test_the_picture_is_what_the_net_draws(pipeline: AnimePipeline, png_file: Path, astronaut: Pixels) -> None:
    assert np.array_equal(draw(pipeline, png_file), convert(pipeline._generators["mine"], astronaut))


def test_each_style_draws_in_its_own_way(pipeline: AnimePipeline, png_file: Path) -> None:
    mine, other = (draw(pipeline, png_file, style).astype(int) for style in ("mine", "other"))
    assert np.abs(mine - other).mean() > 10


@pytest.mark.parametrize(
    ("media_type", "format_"), [("image/jpeg", "JPEG"), ("image/png", "PNG"), ("image/webp", "WEBP")]
)
def test_the_answer_has_the_type_asked_for(
    media_type: str, format_: str, pipeline: AnimePipeline, png_file: Path
) -> None:
    result = pipeline.predict(png_file, AnimeOptions(style="mine", max_side=512), Clock())
    with Image.open(io.BytesIO(pipeline.encode(result, media_type, png_file))) as picture:
        assert (picture.format, picture.size, picture.mode) == (format_, (512, 512), "RGB")


@pytest.mark.parametrize(("asked", "side"), [(100, 100), (512, 400), (5000, 400), (1, 1)])
def test_neither_the_request_nor_the_server_gets_more_than_the_smaller_bound(
    asked: int, side: int, load_anime: LoadAnime, png_file: Path
) -> None:
    assert draw(load_anime(working_side=400), png_file, max_side=asked).shape == (side, side, 3)


def test_the_shape_of_the_picture_stays(pipeline: AnimePipeline, astronaut: Pixels, tmp_path: Path) -> None:
    wide = save(tmp_path / "wide.png", np.hstack([astronaut, astronaut, astronaut]))
    assert draw(pipeline, wide, max_side=300).shape == (100, 300, 3)
    small = save(tmp_path / "small.png", astronaut[:77, :131])
    assert draw(pipeline, small).shape == (77, 131, 3)


@pytest.mark.parametrize("width", [700, 1000, 2000, 3000])
def test_a_large_photo_is_drawn_as_large_as_was_asked_for(
    width: int, pipeline: AnimePipeline, astronaut: Pixels, tmp_path: Path
) -> None:
    """Though a decoder may give less."""
    large = np.asarray(cv2.resize(astronaut, (width, width // 2)), np.uint8)
    assert draw(pipeline, save(tmp_path / "large.jpg", large), max_side=100).shape == (50, 100, 3)
    assert draw(pipeline, save(tmp_path / "large.jpg", large)).shape == (256, 512, 3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 600), (600, 1), (2, 3)])
def test_the_smallest_pictures_are_drawn(shape: tuple[int, int], pipeline: AnimePipeline, tmp_path: Path) -> None:
    tiny = save(tmp_path / "tiny.png", np.full((*shape, 3), 99, np.uint8))
    assert max(draw(pipeline, tiny).shape[:2]) == min(512, max(shape))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_drawn_as_it_is_shown(
    orientation: int, pipeline: AnimePipeline, astronaut: Pixels, tmp_path: Path
) -> None:
    shown = np.ascontiguousarray(astronaut[60:160, 150:300])
    (tmp_path / "turned.jpg").write_bytes(with_orientation(shown, orientation))
    drawn = draw(pipeline, tmp_path / "turned.jpg").astype(int)
    expected = draw(pipeline, save(tmp_path / "shown.png", shown)).astype(int)
    assert drawn.shape == expected.shape
    turned = draw(pipeline, save(tmp_path / "other.png", np.ascontiguousarray(shown[::-1, ::-1]))).astype(int)
    assert np.abs(drawn - expected).mean() < 0.5 * np.abs(drawn - turned).mean()


def test_grey_and_transparent_pictures_are_drawn_like_any(
    pipeline: AnimePipeline, astronaut: Pixels, tmp_path: Path
) -> None:
    grey = np.asarray(cv2.cvtColor(astronaut, cv2.COLOR_BGR2GRAY), np.uint8)
    of_one, of_three = save(tmp_path / "1.png", grey), save(tmp_path / "3.png", np.dstack([grey, grey, grey]))
    assert np.array_equal(draw(pipeline, of_one), draw(pipeline, of_three))
    clear = np.dstack([astronaut, np.full(astronaut.shape[:2], 128, np.uint8)])
    opaque, through = save(tmp_path / "opaque.png", astronaut), save(tmp_path / "clear.png", clear)
    assert np.array_equal(draw(pipeline, through), draw(pipeline, opaque))


def test_a_damaged_picture_is_refused(pipeline: AnimePipeline, tmp_path: Path, jpeg: bytes) -> None:
    (tmp_path / "half.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    with pytest.raises(UnreadableImage):
        draw(pipeline, tmp_path / "half.jpg")


def test_the_drawing_is_not_kept_once_it_was_given(pipeline: AnimePipeline, png_file: Path) -> None:
    draw(pipeline, png_file, max_side=32)
    assert not pipeline._drawn
