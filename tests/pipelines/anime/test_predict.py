"""The whole pipeline."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from faceattr_aio.errors import UnreadableImage
from faceattr_aio.pipeline import Clock
from faceattr_aio.pipelines.anime import AnimeOptions
from faceattr_aio.pipelines.anime.predict import AnimePipeline, convert
from faceattr_aio.pipelines.imaging import Pixels
from tests.pipelines.anime.conftest import LoadAnime
from tests.support.pictures import with_orientation

pytestmark = pytest.mark.pixels


def draw(pipeline: AnimePipeline, file: Path, style: str = "mine", max_side: int = 512) -> Pixels:
    """Predict, encode as PNG and decode the drawing."""
    pipeline.predict(file, AnimeOptions(style=style, max_side=max_side), Clock())
    drawn = cv2.imdecode(np.frombuffer(pipeline.encode({}, "image/png", file), np.uint8), cv2.IMREAD_UNCHANGED)
    assert drawn is not None
    return np.asarray(drawn, np.uint8)


def save(file: Path, pixels: Pixels) -> Path:
    assert cv2.imwrite(str(file), pixels)
    return file


def test_the_result_has_size_style_and_the_time_of_each_stage(pipeline: AnimePipeline, png_file: Path) -> None:
    clock = Clock()
    result = pipeline.predict(png_file, AnimeOptions(style="mine", max_side=512), clock)
    assert result == {"width": 512, "height": 512, "style": "mine"}
    assert list(clock.laps) == ["decode", "convert"]


def test_the_drawing_is_that_of_the_generator(pipeline: AnimePipeline, png_file: Path, astronaut: Pixels) -> None:
    assert np.array_equal(draw(pipeline, png_file), convert(pipeline._generators["mine"], astronaut))


def test_each_style_draws_differently(pipeline: AnimePipeline, png_file: Path) -> None:
    mine, other = (draw(pipeline, png_file, style).astype(int) for style in ("mine", "other"))
    assert np.abs(mine - other).mean() > 10


@pytest.mark.parametrize(
    ("media_type", "format_"), [("image/jpeg", "JPEG"), ("image/png", "PNG"), ("image/webp", "WEBP")]
)
def test_the_drawing_has_the_requested_type(
    media_type: str, format_: str, pipeline: AnimePipeline, png_file: Path
) -> None:
    result = pipeline.predict(png_file, AnimeOptions(style="mine", max_side=512), Clock())
    with Image.open(io.BytesIO(pipeline.encode(result, media_type, png_file))) as picture:
        assert (picture.format, picture.size, picture.mode) == (format_, (512, 512), "RGB")


@pytest.mark.parametrize(("asked", "side"), [(100, 100), (512, 400), (5000, 400), (1, 1)])
def test_the_smaller_limit_of_request_and_server_applies(
    asked: int, side: int, load_anime: LoadAnime, png_file: Path
) -> None:
    assert draw(load_anime(working_side=400), png_file, max_side=asked).shape == (side, side, 3)


def test_the_drawing_keeps_the_proportions(pipeline: AnimePipeline, astronaut: Pixels, tmp_path: Path) -> None:
    wide = save(tmp_path / "wide.png", np.hstack([astronaut, astronaut, astronaut]))
    assert draw(pipeline, wide, max_side=300).shape == (100, 300, 3)
    small = save(tmp_path / "small.png", astronaut[:77, :131])
    assert draw(pipeline, small).shape == (77, 131, 3)


@pytest.mark.parametrize("width", [700, 1000, 2000, 3000])
def test_a_large_photo_is_drawn_at_the_requested_size(
    width: int, pipeline: AnimePipeline, astronaut: Pixels, tmp_path: Path
) -> None:
    """The decoder may reduce a JPEG to less than the requested size."""
    large = np.asarray(cv2.resize(astronaut, (width, width // 2)), np.uint8)
    assert draw(pipeline, save(tmp_path / "large.jpg", large), max_side=100).shape == (50, 100, 3)
    assert draw(pipeline, save(tmp_path / "large.jpg", large)).shape == (256, 512, 3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 600), (600, 1), (2, 3)])
def test_the_smallest_pictures_are_drawn(shape: tuple[int, int], pipeline: AnimePipeline, tmp_path: Path) -> None:
    tiny = save(tmp_path / "tiny.png", np.full((*shape, 3), 99, np.uint8))
    assert max(draw(pipeline, tiny).shape[:2]) == min(512, max(shape))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(
    orientation: int, pipeline: AnimePipeline, astronaut: Pixels, tmp_path: Path
) -> None:
    shown = np.ascontiguousarray(astronaut[60:160, 150:300])
    (tmp_path / "turned.jpg").write_bytes(with_orientation(shown, orientation))
    drawn = draw(pipeline, tmp_path / "turned.jpg").astype(int)
    expected = draw(pipeline, save(tmp_path / "shown.png", shown)).astype(int)
    assert drawn.shape == expected.shape
    turned = draw(pipeline, save(tmp_path / "other.png", np.ascontiguousarray(shown[::-1, ::-1]))).astype(int)
    assert np.abs(drawn - expected).mean() < 0.5 * np.abs(drawn - turned).mean()


def test_grey_and_transparent_pictures_are_drawn(pipeline: AnimePipeline, astronaut: Pixels, tmp_path: Path) -> None:
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


def test_the_drawing_is_released_by_encode(pipeline: AnimePipeline, png_file: Path) -> None:
    draw(pipeline, png_file, max_side=32)
    assert not pipeline._drawn
