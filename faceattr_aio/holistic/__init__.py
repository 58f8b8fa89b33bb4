"""Pose, face and hands of one person: what a client may ask, what the configuration may say, which models that takes.
The order of work is in `predict`; this half is imported by the server and must not import the vision library.

    decode -> pose -> face, hands where the pose has them
"""

from collections.abc import Collection
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from faceattr_aio.pipeline import JSON, Declaration, Options, PipelineSettings, split_words

Part = Literal["pose", "face", "left_hand", "right_hand"]
PARTS: tuple[Part, ...] = get_args(Part)
NOBODY = "no-person"
"""Why there are no landmarks."""
Sharpness = Annotated[float, Field(ge=0, le=1e6)]


class HolisticOptions(Options):
    """What a client may ask of one request."""

    parts: Annotated[tuple[Part, ...], BeforeValidator(split_words), Field(min_length=1)] = PARTS
    working_side: Annotated[int, Field(ge=64, le=16_384)] = 480
    complexity: Annotated[int, Field(ge=0, le=1)] = 1
    min_sharpness: Sharpness | None = None


class HolisticSettings(PipelineSettings):
    """The keys of `[pipelines.holistic]`."""

    min_sharpness: Sharpness = 0.0


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
    load="faceattr_aio.holistic.predict:HolisticPipeline",
    options=HolisticOptions,
    settings=HolisticSettings,
    models=lambda _: tuple(model_names(PARTS).values()),
    media_types=(JSON, "image/jpeg", "image/png"),
    counts={"people": _people},
)
