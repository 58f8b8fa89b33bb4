"""Pose, face and hands of one person: options, settings, result, models and declaration of the pipeline.

The server imports this module, so it must not import cv2, numpy or OpenVINO. The work is in `predict`:

    decode -> pose -> face, hands at the places that the pose gives
"""

from collections.abc import Collection
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, ConfigDict, Field

from faceattr_aio.pipeline import JSON, Declaration, Options, PipelineSettings, split_words
from faceattr_aio.schemas import ImageSize, Probability, ResponseModel

Part = Literal["pose", "face", "left_hand", "right_hand"]
PARTS: tuple[Part, ...] = get_args(Part)
NO_PERSON = "no-person"
"""The reason in a result without landmarks."""
Sharpness = Annotated[float, Field(ge=0, le=1e6)]


class HolisticOptions(Options):
    """Options of one request."""

    parts: Annotated[
        tuple[Part, ...],
        BeforeValidator(split_words),
        Field(min_length=1, description="The parts to find. Of the others only the pose is computed."),
    ] = PARTS
    working_side: Annotated[int, Field(ge=64, le=16_384, description="Longest side searched, in pixels.")] = 480
    complexity: Annotated[int, Field(ge=0, le=1, description="0 is slightly less accurate, in half the time.")] = 1
    min_sharpness: Annotated[
        Sharpness | None, Field(description="Refuse pictures below this sharpness; default: the server's setting.")
    ] = None


class HolisticSettings(PipelineSettings):
    """The keys of `[pipelines.holistic]`."""

    min_sharpness: Sharpness = 0.0


class Landmark(ResponseModel):
    """`x` and `y` are shares of the picture's sides, below 0 or above 1 outside; `z` is depth in the scale of `x`.

    Only points of the pose have a `visibility`; points of a face have no `name`.
    """

    name: str | None = None
    x: float
    y: float
    z: float
    visibility: Probability | None = None


class Side(ResponseModel):
    """Left or right, as the hand alone looks."""

    label: Literal["left", "right"]
    probability: Probability


class Body(ResponseModel):
    """The most visible person of one picture: a list for each requested part, empty if the part was not found.

    A picture without a person is no failure; `reason` is then set. `models` has the model of each part.
    """

    image: ImageSize
    landmarks: dict[Part, tuple[Landmark, ...]]
    handedness: dict[Part, Side]
    reason: Literal["no-person"] | None
    models: dict[str, str]

    model_config = ConfigDict(
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


_MODELS: dict[Part, dict[str, str]] = {
    "pose": {"pose_detector": "mediapipe-pose-detection", "pose": "mediapipe-pose-landmark-full"},
    "face": {"face_detector": "mediapipe-face-detection-short", "face": "mediapipe-face-landmark"},
    "left_hand": {"hand_detector": "mediapipe-hand-recrop", "hand": "mediapipe-hand-landmark-full"},
    "right_hand": {"hand_detector": "mediapipe-hand-recrop", "hand": "mediapipe-hand-landmark-full"},
}


def model_names(parts: Collection[Part]) -> dict[str, str]:
    """Return the model of each role. The pose is always included: it gives the places of the other parts."""
    return {role: name for part in PARTS if part in {"pose", *parts} for role, name in _MODELS[part].items()}


Holistic = Declaration(
    load="faceattr_aio.pipelines.holistic.predict:HolisticPipeline",
    options=HolisticOptions,
    settings=HolisticSettings,
    models=lambda _: tuple(model_names(PARTS).values()),
    media_types=(JSON, "image/jpeg", "image/png"),
    counts={"people": lambda result: int(result["reason"] is None)},
    result=Body,
)
