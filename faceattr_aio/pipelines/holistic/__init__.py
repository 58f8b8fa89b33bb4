"""Pose, face and hands of one person: what a client may ask and is answered, what the configuration may say, and which
models that takes. The order of work is in `predict`; this half is imported by the server and must not import the vision
library.

    decode -> pose -> face, hands where the pose has them
"""

from collections.abc import Collection
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, ConfigDict, Field

from faceattr_aio.pipeline import JSON, Declaration, Options, PipelineSettings, split_words
from faceattr_aio.schemas import ImageSize, Probability, ResponseModel

Part = Literal["pose", "face", "left_hand", "right_hand"]
PARTS: tuple[Part, ...] = get_args(Part)
NOBODY = "no-person"
"""Why there are no landmarks."""
Sharpness = Annotated[float, Field(ge=0, le=1e6)]


class HolisticOptions(Options):
    """What a client may ask of one request."""

    parts: Annotated[
        tuple[Part, ...],
        BeforeValidator(split_words),
        Field(min_length=1, description="What to look for; nothing is computed for the others but the pose."),
    ] = PARTS
    working_side: Annotated[int, Field(ge=64, le=16_384, description="Longest side searched, in pixels.")] = 480
    complexity: Annotated[int, Field(ge=0, le=1, description="0 takes half the time and is a little less exact.")] = 1
    min_sharpness: Annotated[
        Sharpness | None, Field(description="Less sharp pictures are refused; by default as the server is set.")
    ] = None


class HolisticSettings(PipelineSettings):
    """The keys of `[pipelines.holistic]`."""

    min_sharpness: Sharpness = 0.0


class Landmark(ResponseModel):
    """`x` and `y` are shares of the picture's sides, below 0 or above 1 outside; `z` is depth in the scale of `x`.
    The pose tells how visible a point is; the points of a face have no names.
    """

    name: str | None = None
    x: float
    y: float
    z: float
    visibility: Probability | None = None


class Side(ResponseModel):
    """Which hand it looks like by itself."""

    label: Literal["left", "right"]
    probability: Probability


class Body(ResponseModel):
    """The most visible person of one picture: a list for each part that was asked for, empty where it was not found;
    nobody is no failure, and has a reason. `models` says which model told what.
    """

    image: ImageSize
    landmarks: dict[Part, tuple[Landmark, ...]]
    handedness: dict[Part, Side]
    reason: Literal["no-person"] | None
    models: dict[str, str]

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "example": {
                "image": {"width": 512, "height": 512, "format": "jpeg"},
                "landmarks": {
                    "pose": [{"name": "nose", "x": 0.438, "y": 0.252, "z": -0.671, "visibility": 0.99998}],
                    "left_hand": [],
                },
                "handedness": {},
                "reason": None,
                "models": {"pose_detector": "mediapipe-pose-detection", "pose": "mediapipe-pose-landmark-full"},
            }
        },
    )


def _people(result: dict[str, Any]) -> int:
    return int(result["reason"] is None)


_MODELS: dict[Part, dict[str, str]] = {
    "pose": {"pose_detector": "mediapipe-pose-detection", "pose": "mediapipe-pose-landmark-full"},
    "face": {"face_detector": "mediapipe-face-detection-short", "face": "mediapipe-face-landmark"},
    "left_hand": {"hand_detector": "mediapipe-hand-recrop", "hand": "mediapipe-hand-landmark-full"},
    "right_hand": {"hand_detector": "mediapipe-hand-recrop", "hand": "mediapipe-hand-landmark-full"},
}


def model_names(parts: Collection[Part]) -> dict[str, str]:
    """Which model tells what. The pose is always among them: it says where the other parts are."""
    return {role: name for part in PARTS if part in {"pose", *parts} for role, name in _MODELS[part].items()}


Holistic = Declaration(
    load="faceattr_aio.pipelines.holistic.predict:HolisticPipeline",
    options=HolisticOptions,
    settings=HolisticSettings,
    models=lambda _: tuple(model_names(PARTS).values()),
    media_types=(JSON, "image/jpeg", "image/png"),
    counts={"people": _people},
    result=Body,
)
