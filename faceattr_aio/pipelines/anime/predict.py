"""The anime pipeline in a worker: decode, redraw and encode."""

from pathlib import Path
from typing import Any

from faceattr_aio.pipeline import Clock, LoadSpec
from faceattr_aio.pipelines import imaging
from faceattr_aio.pipelines.anime import AnimeOptions, AnimeSettings
from faceattr_aio.pipelines.anime.generators import Generators, convert
from faceattr_aio.pipelines.imaging import Pixels

Result = dict[str, Any]


class AnimePipeline:
    """The generators of one worker. Not thread-safe: each worker has its own."""

    def __init__(self, spec: LoadSpec) -> None:
        """Load and test the generators. Raises StartError when one cannot be used here."""
        settings = spec.settings
        assert isinstance(settings, AnimeSettings)
        if spec.own_process:
            imaging.limit_threads()
        files = {style: spec.files[name].path for style, name in settings.published.items()} | settings.files
        self._generators = Generators(files, settings.backend)
        self.models = {f"anime-{style}": digest for style, digest in self._generators.hashes.items()}
        self._working_side = spec.working_side
        self._drawn: dict[Path, Pixels] = {}

    def predict(self, path: Path, options: AnimeOptions, clock: Clock) -> Result:
        """Draw the picture, keep the drawing for `encode`, and return its `width` and `height` in pixels and `style`.

        Raises BadOption, UnreadableImage, TooComplex or TooManyPixels.
        """
        side = min(options.max_side, self._working_side)
        # A JPEG may be decoded to less than the given side: twice the side leaves enough to scale down.
        pixels = imaging.shrink(imaging.read(path, 2 * side).pixels, side)
        clock.lap("decode")
        drawn = convert(self._generators[options.style], pixels)
        clock.lap("convert")
        self._drawn = {path: drawn}
        height, width = drawn.shape[:2]
        return {"width": width, "height": height, "style": options.style}

    def encode(self, result: Result, media_type: str, path: Path) -> bytes:  # noqa: ARG002  # it is in the picture
        """Return the drawing of the last predicted picture, encoded as `media_type`."""
        return imaging.encode(self._drawn.pop(path), media_type)

    def close(self) -> None:
        """Do nothing: the pipeline holds only memory."""
