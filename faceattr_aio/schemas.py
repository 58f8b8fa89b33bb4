"""Response bodies as pydantic models and as plain data: answers about faces, jobs, problem documents.

Lengths are pixels of the picture as shown, from its top left corner; probabilities are 0 to 1.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from typing_extensions import TypedDict  # pydantic does not accept that of Python 3.11

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


_EXAMPLE: dict[str, Any] = {
    "image": {"width": 512, "height": 512, "format": "jpeg"},
    "faces": [
        {
            "box": {"x": 173, "y": 68, "width": 107, "height": 107},
            "confidence": 0.936,
            "landmarks": {"left_eye": [205, 102], "right_eye": [247, 105], "nose": [225, 130], "mouth": [223, 148]},
            "gender": {"label": "female", "probability": 1.0},
            "age": {"years": 30.7, "interval": [21, 41], "bracket": "25-32", "probability": 0.527},
        }
    ],
    "models": {"detector": "blazeface-full-range", "age": "dlib-age-v1", "gender": "dlib-gender-v1"},
}


class Faces(ResponseModel):
    """The faces of one picture, by falling confidence; a picture without faces is not a failure. `models` names the
    model of each task.
    """

    image: ImageSize
    faces: tuple[Face, ...]
    models: dict[str, str]

    model_config: ClassVar[ConfigDict] = ConfigDict(json_schema_extra={"example": _EXAMPLE})


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


Natural = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]


class Problem(TypedDict):
    """A problem document (RFC 9457)."""

    type: Annotated[str, Field(description="The kind of failure: a stable URN for programs to compare.")]
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: Annotated[str, Field(description="What failed and what to do about it, in a sentence for people.")]
    instance: Annotated[str, Field(description="The id of the request.")]
    retry_after_ms: NotRequired[Annotated[Count, Field(description="Milliseconds until a slot should be free.")]]
    limit: NotRequired[Annotated[Natural, Field(description="The limit of pictures in flight.")]]
    in_flight: NotRequired[Annotated[Count, Field(description="The number of pictures in flight.")]]


class HealthReport(TypedDict):
    """The answer of /livez, /healthz and /readyz."""

    status: Annotated[str, Field(description="`ok`, or the names of the failed checks.")]
    checks: NotRequired[dict[str, str]]


class Alert(BaseModel):
    """A mean of the window that exceeds its configured bound."""

    name: Annotated[str, WithJsonSchema({"enum": ["mean_s", "mean_waiting", "error_rate"]})]
    value: float
    bound: float


_TOTALS = {"required": ["answered", "client_errors", "refused", "failed"]}
_WINDOW = {"required": ["requests", "mean_s", "mean_waiting", "error_rate"]}


class StatsReport(BaseModel):
    """The answer of /stats. `window` describes the last requests: their number, mean seconds, the mean number of
    requests that waited for a worker, and the share that failed through a fault of the server.
    """

    in_flight: Count
    limit: Natural
    workers: Natural
    mean_service_s: Amount
    totals: Annotated[dict[str, Count], Field(description="Since the start.", json_schema_extra=_TOTALS)]
    window: Annotated[dict[str, Amount], Field(json_schema_extra=_WINDOW)]
    requests_per_s: Annotated[Amount, Field(description="In the last ten seconds.")]
    refused_per_s: Annotated[Amount, Field(description="In the last ten seconds.")]
    alerts: list[Alert]


class RequestReport(BaseModel):
    """The answer of /stats/{id}: one request. Further members are counts from the results, for example `faces`."""

    id: str
    method: str
    path: str
    pipeline: str
    status: int
    kind: Annotated[str, Field(description="The kind of its failure, or nothing.")]
    received_bytes: int
    sent_bytes: int
    ms: float
    pictures: int
    stages_ms: dict[str, float]

    __pydantic_extra__: dict[str, int]
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow")


class ReloadReport(BaseModel):
    """The answer of /admin/reload."""

    models: Annotated[dict[str, str], Field(description="The SHA-256 of each model, by name.")]
