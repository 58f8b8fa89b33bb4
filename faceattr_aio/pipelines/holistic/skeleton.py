"""The names of the landmarks, in MediaPipe's order, and which of them are joined. Left and right are the person's own.
Knows no picture.
"""

from faceattr_aio.pipelines.holistic import Part

_SIDES = ("left", "right")
_FINGERS = ("index_finger", "middle_finger", "ring_finger", "pinky")
_LIMBS = ("shoulder", "elbow", "wrist", "pinky", "index", "thumb", "hip", "knee", "ankle", "heel", "foot_index")

POSE = (
    "nose",
    *(f"{side}_eye{corner}" for side in _SIDES for corner in ("_inner", "", "_outer")),
    "left_ear",
    "right_ear",
    "mouth_left",
    "mouth_right",
    *(f"{side}_{limb}" for limb in _LIMBS for side in _SIDES),
)
HAND = (
    "wrist",
    *(f"thumb_{joint}" for joint in ("cmc", "mcp", "ip", "tip")),
    *(f"{finger}_{joint}" for finger in _FINGERS for joint in ("mcp", "pip", "dip", "tip")),
)

_FACE_OF_POSE = ((8, 6, 5, 4, 0, 1, 2, 3, 7), (10, 9))
_ARMS = tuple((11 + side, 13 + side, 15 + side, 17 + side, 19 + side, 15 + side, 21 + side) for side in (0, 1))
_LEGS = tuple((23 + side, 25 + side, 27 + side, 29 + side, 31 + side, 27 + side) for side in (0, 1))
_TRUNK = ((11, 12, 24, 23, 11),)
_PALM = ((0, 1, 2, 3, 4), (0, 5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (0, 17, 18, 19, 20), (5, 9, 13, 17))

NAMES: dict[Part, tuple[str, ...]] = {"pose": POSE, "face": (), "left_hand": HAND, "right_hand": HAND}
"""The face's 468 have numbers only."""
LINES: dict[Part, tuple[tuple[int, ...], ...]] = {
    "pose": (*_FACE_OF_POSE, *_TRUNK, *_ARMS, *_LEGS),
    "face": (),
    "left_hand": _PALM,
    "right_hand": _PALM,
}
"""Landmarks that are joined one after another."""
