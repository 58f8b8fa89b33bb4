"""Response bodies as pydantic models and as plain data: answers about faces, jobs, problem documents.

Lengths are pixels of the picture as shown, from its top left corner; probabilities are 0 to 1.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from faceattr_aio.errors import FaceattrError
from faceattr_aio.pipeline import Outcome

Probability = Annotated[float, Field(ge=0, le=1)]
Point = tuple[int, int]
Document = dict[str, object]


class ResponseModel(BaseModel):
    """A part of a response. Unknown members, as a newer server may send them, are ignored."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)


class Box(ResponseModel):
    x: int
    y: int
    width: Annotated[int, Field(ge=0)]
    height: Annotated[int, Field(ge=0)]


class Landmarks(ResponseModel):
    """Points can be outside the picture when the face is cut off. `left_eye` is the eye on the left of the picture."""

    left_eye: Point
    right_eye: Point
    nose: Point
    mouth: Point


class Gender(ResponseModel):
    """`probability` is that of the more probable gender, even when it is too low for a label and that is `unknown`."""

    label: Literal["female", "male", "unknown"]
    probability: Probability


class Age(ResponseModel):
    """`interval` contains the true age in four of five cases. `probability` is that of the most probable bracket, even
    when it is too low to name it.
    """

    years: Annotated[float, Field(ge=0)]
    interval: tuple[int, int]
    bracket: str
    probability: Probability


class Face(ResponseModel):
    """`gender` and `age` are present when requested, `landmarks` when the detector has them."""

    box: Box
    confidence: Probability
    landmarks: Landmarks | None = None
    gender: Gender | None = None
    age: Age | None = None


class ImageSize(ResponseModel):
    """The size of the picture as shown, after its EXIF orientation."""

    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]
    format: str


class Faces(ResponseModel):
    """The faces of one picture, by falling confidence; a picture without faces is not a failure. `models` names the
    model of each task.
    """

    image: ImageSize
    faces: tuple[Face, ...]
    models: dict[str, str]

    model_config: ClassVar[ConfigDict] = ConfigDict(
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
        }
    )


class Answer(Faces):
    """The answer of a server for one picture. `id` is that of the request; `cached` says if it is from the cache."""

    id: str
    cached: bool


class Progress(ResponseModel):
    """Number of pictures that are done, and of all pictures."""

    done: Annotated[int, Field(ge=0)]
    of: Annotated[int, Field(ge=1)]


class Job(ResponseModel):
    """The state of a job. `processing_s` is the time since the start of its first picture. `result` is the answer that
    the path of the pipeline gives, `error` the problem document when the job failed.
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
    """The problem document of a failure (RFC 9457)."""
    return {
        "type": f"urn:faceattr:{error.kind}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "instance": identity,
        **error.members,
    }


def picture_body(outcome: Outcome, identity: str) -> Document:
    """The result or the error of one of several pictures."""
    if isinstance(outcome, FaceattrError):
        return {"error": problem_body(outcome, identity)}
    return {**outcome.result, "cached": outcome.source == "hit"}


def answer_body(bodies: Sequence[Document], identity: str) -> Document:
    """The response for all pictures: the body of a single picture, or a list of several."""
    return {"id": identity, **(bodies[0] if len(bodies) == 1 else {"results": list(bodies)})}
