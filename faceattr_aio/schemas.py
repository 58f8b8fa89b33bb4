"""What an answer about faces, or about a job, looks like: for those who describe it and for those who read it. Knows
not how it comes about. Lengths are pixels of the picture as shown, from its top left corner; probabilities are 0 to 1.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from faceattr_aio.errors import FaceattrError
from faceattr_aio.pipeline import Outcome

Probability = Annotated[float, Field(ge=0, le=1)]
Point = tuple[int, int]
Document = dict[str, object]


class Section(BaseModel):
    """A newer server may say more than is known here."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)


class Box(Section):
    x: int
    y: int
    width: Annotated[int, Field(ge=0)]
    height: Annotated[int, Field(ge=0)]


class Landmarks(Section):
    """May lie outside a picture that cuts the face; `left_eye` is the one on the left of the picture."""

    left_eye: Point
    right_eye: Point
    nose: Point
    mouth: Point


class Gender(Section):
    """`probability` is that of the likelier one, also when it is too low to name it."""

    label: Literal["female", "male", "unknown"]
    probability: Probability


class Age(Section):
    """`interval` holds the true age four times in five; `probability` is that of the likeliest bracket, also when it is
    too low to name it.
    """

    years: Annotated[float, Field(ge=0)]
    interval: tuple[int, int]
    bracket: str
    probability: Probability


class Face(Section):
    """`gender` and `age` are there when they were asked for; not every detector has landmarks."""

    box: Box
    confidence: Probability
    landmarks: Landmarks | None = None
    gender: Gender | None = None
    age: Age | None = None


class ImageSize(Section):
    """The picture as shown, after its EXIF orientation."""

    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]
    format: str


class Faces(Section):
    """The faces of one picture, the surest first; none is no failure. `models` says which model told what."""

    image: ImageSize
    faces: tuple[Face, ...]
    models: dict[str, str]

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True,
        json_schema_extra={
            "example": {
                "image": {"width": 512, "height": 512, "format": "jpeg"},
                "faces": [
                    {
                        "box": {"x": 173, "y": 68, "width": 107, "height": 107},
                        "confidence": 0.936,
                        "landmarks": {
                            "left_eye": [205, 102],
                            "right_eye": [247, 105],
                            "nose": [225, 130],
                            "mouth": [223, 148],
                        },
                        "gender": {"label": "female", "probability": 1.0},
                        "age": {"years": 30.7, "interval": [21, 41], "bracket": "25-32", "probability": 0.527},
                    }
                ],
                "models": {"detector": "blazeface-full-range", "age": "dlib-age-v1", "gender": "dlib-gender-v1"},
            }
        },
    )


class Answer(Faces):
    """The same as a server tells it. `id` is the request's, `cached` whether the answer was known before."""

    id: str
    cached: bool


class Progress(Section):
    """Pictures that are done, of how many."""

    done: Annotated[int, Field(ge=0)]
    of: Annotated[int, Field(ge=1)]


class Job(Section):
    """What is known of a job. `processing_s` counts from when the first of its pictures was begun; `result` is what the
    pipeline's own path would have answered, `error` the problem document of why there is none.
    """

    id: str
    status: Literal["queued", "running", "done", "failed"]
    pipeline: str
    progress: Progress
    processing_s: Annotated[float, Field(ge=0)] = 0.0
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None

    @property
    def is_over(self) -> bool:
        return self.status in {"done", "failed"}


def problem_body(error: FaceattrError, identity: str) -> Document:
    """The problem document of a failure."""
    return {
        "type": f"urn:faceattr:{error.kind}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "instance": identity,
        **error.members,
    }


def picture_body(outcome: Outcome, identity: str) -> Document:
    """What is told of one picture among several."""
    if isinstance(outcome, FaceattrError):
        return {"error": problem_body(outcome, identity)}
    return {**outcome.result, "cached": outcome.source == "hit"}


def answer_body(entries: Sequence[Document], identity: str) -> Document:
    """One picture's answer as it is, several as a list."""
    return {"id": identity, **(entries[0] if len(entries) == 1 else {"results": list(entries)})}
