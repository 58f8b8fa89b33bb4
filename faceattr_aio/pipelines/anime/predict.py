"""The worker's half: one picture in, the same as a drawing out, in the order of work. Knows no server and no other
pipeline.
"""

from pathlib import Path
from typing import Any

from faceattr_aio.pipeline import Clock, LoadSpec
from faceattr_aio.pipelines import imaging
from faceattr_aio.pipelines.anime import AnimeOptions, AnimeSettings
from faceattr_aio.pipelines.anime.generator import convert
from faceattr_aio.pipelines.anime.loading import Generators
from faceattr_aio.pipelines.imaging import Pixels

Result = dict[str, Any]


class AnimePipeline:
    """Loaded generators of one worker. Not safe for threads: each worker has its own."""

    def __init__(self, plan: LoadSpec) -> None:
        """Raises StartError when a file cannot be used here."""
        settings = plan.settings
        assert isinstance(settings, AnimeSettings)
        if plan.own_process:
            imaging.limit_threads()
        files = {style: plan.files[name].path for style, name in settings.published.items()} | settings.files
        self._generators = Generators(files, settings.backend)
        self.models = {f"anime-{style}": digest for style, digest in self._generators.hashes.items()}
        self._working_side = plan.working_side
        self._drawn: dict[Path, Pixels] = {}

    def predict(self, path: Path, options: AnimeOptions, clock: Clock) -> Result:
        """What was drawn: `width` and `height` in pixels, in which `style`. The drawing itself is kept for `encode`."""
        side = min(options.max_side, self._working_side)
        pixels = imaging.shrink(
            imaging.read(path, 2 * side).pixels, side
        )  # what is decoded may be smaller than asked for
        clock.lap("decode")
        drawn = convert(self._generators[options.style], pixels)
        clock.lap("convert")
        self._drawn = {path: drawn}
        height, width = drawn.shape[:2]
        return {"width": width, "height": height, "style": options.style}

    def encode(self, result: Result, media_type: str, path: Path) -> bytes:  # noqa: ARG002  # it is in the picture
        """The drawing of the picture that was the last."""
        return imaging.encode(self._drawn.pop(path), media_type)

    def close(self) -> None:
        """Nothing is held but memory."""
