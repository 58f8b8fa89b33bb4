"""Photos as drawings: what a client may ask, what the configuration may say, which generators that takes. The order of
work is in `predict`; this half is imported by the server and must not import the vision library.

    decode -> convert -> encode
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, StringConstraints, create_model, model_validator

from faceattr_aio.pipeline import Declaration, Options, PipelineSettings, split_words

Published = Literal["hayao", "paprika", "shinkai", "face_paint"]
PUBLISHED: tuple[Published, ...] = get_args(Published)
StyleName = Annotated[str, StringConstraints(pattern=r"^\w[\w-]*$")]
Backend = Literal["cv2", "openvino"]


class AnimeOptions(Options):
    """What a client may ask of one request. Which styles there are, and how large they are drawn, the settings say."""

    style: str
    max_side: int

    def __reduce__(self) -> Any:
        """For a worker it is enough to know what is wanted, and not what else could have been."""
        return AnimeOptions.model_validate, (self.model_dump(),)


class AnimeSettings(PipelineSettings):
    """The keys of `[pipelines.anime]`."""

    styles: Annotated[tuple[Published, ...], BeforeValidator(split_words)] = ("hayao",)
    files: dict[StyleName, Path] = Field(default_factory=dict)
    style: str | None = None
    max_side: Annotated[int, Field(ge=32, le=16_384)] = 512
    backend: Backend = "cv2"

    @model_validator(mode="after")
    def _there_is_a_default(self) -> Self:
        if not self.names:
            raise ValueError("there is no style: name one in styles, or a file of your own in files")
        if self.default not in self.names:
            raise ValueError(f"the style {self.style!r} is not among {', '.join(self.names)}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Of all styles, each once."""
        return tuple(dict.fromkeys((*self.styles, *self.files)))

    @property
    def default(self) -> str:
        return self.style or self.names[0]

    @property
    def published(self) -> dict[str, str]:
        """The names in the manifest of the styles that have no file of the user's own."""
        return {style: f"animeganv2-{style}" for style in self.styles if style not in self.files}


def _options(settings: AnimeSettings) -> type[AnimeOptions]:
    """With the styles that there are, and no more than can be done in time."""
    names: Any = Literal.__getitem__(settings.names)
    style = (names, Field(settings.default, description="Whose way of drawing."))
    bound = Field(settings.max_side, ge=1, le=settings.max_side, description="Longest side of the answer, in pixels.")
    return create_model(
        "AnimeOptions", __base__=AnimeOptions, __doc__=AnimeOptions.__doc__, style=style, max_side=(int, bound)
    )


Anime = Declaration(
    load="faceattr_aio.pipelines.anime.predict:AnimePipeline",
    options=AnimeOptions,
    settings=AnimeSettings,
    models=lambda settings: tuple(settings.published.values()),
    media_types=("image/jpeg", "image/png", "image/webp"),
    options_for=_options,
)
