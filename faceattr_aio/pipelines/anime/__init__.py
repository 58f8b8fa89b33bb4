"""Photos as drawings: options, settings, models and declaration of the pipeline.

The server imports this module, so it must not import cv2, numpy or OpenVINO. The work is in `predict`:

    decode -> convert -> encode
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, StringConstraints, create_model, model_validator

from faceattr_aio.pipeline import Declaration, Options, PipelineSettings, split_words
from faceattr_aio.pipelines import Backend

Published = Literal["hayao", "paprika", "shinkai", "face_paint"]
PUBLISHED: tuple[Published, ...] = get_args(Published)
StyleName = Annotated[str, StringConstraints(pattern=r"^\w[\w-]*$")]


class AnimeOptions(Options):
    """Options of one request. The settings determine the styles and the largest side."""

    style: str
    max_side: int

    def __reduce__(self) -> Any:
        """Pickle the values as plain AnimeOptions: a worker cannot import the class that `_options` creates."""
        return AnimeOptions.model_validate, (self.model_dump(),)


class AnimeSettings(PipelineSettings):
    """The keys of `[pipelines.anime]`."""

    styles: Annotated[tuple[Published, ...], BeforeValidator(split_words)] = ("hayao",)
    files: dict[StyleName, Path] = Field(default_factory=dict)
    style: str | None = None
    max_side: Annotated[int, Field(ge=32, le=16_384)] = 512
    backend: Backend = "cv2"

    @model_validator(mode="after")
    def _has_a_default(self) -> Self:
        if not self.names:
            raise ValueError("there is no style: name one in styles, or a file of your own in files")
        if self.default not in self.names:
            raise ValueError(f"the style {self.style!r} is not among {', '.join(self.names)}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all styles, without repetition."""
        return tuple(dict.fromkeys((*self.styles, *self.files)))

    @property
    def default(self) -> str:
        return self.style or self.names[0]

    @property
    def published(self) -> dict[str, str]:
        """The published styles that are not replaced by a file of the user, and their models in the manifest."""
        return {style: f"animeganv2-{style}" for style in self.styles if style not in self.files}


def _options(settings: AnimeSettings) -> type[AnimeOptions]:
    """Return a class of options that accepts the styles and the largest side of the settings."""
    names: Any = Literal.__getitem__(settings.names)
    style = (names, Field(settings.default, description="The style of the drawing."))
    side = Field(settings.max_side, ge=1, le=settings.max_side, description="Longest side of the drawing, in pixels.")
    return create_model(
        "AnimeOptions", __base__=AnimeOptions, __doc__=AnimeOptions.__doc__, style=style, max_side=(int, side)
    )


Anime = Declaration(
    load="faceattr_aio.pipelines.anime.predict:AnimePipeline",
    options=AnimeOptions,
    settings=AnimeSettings,
    models=lambda settings: tuple(settings.published.values()),
    media_types=("image/jpeg", "image/png", "image/webp"),
    options_for=_options,
)
