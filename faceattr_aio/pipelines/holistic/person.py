"""The most visible person in a picture, part by part: the pose first, since it says where to look for the others.
Knows no file and no answer.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from faceattr_aio.pipeline import Clock
from faceattr_aio.pipelines.holistic import Part
from faceattr_aio.pipelines.holistic.face import FaceFinder
from faceattr_aio.pipelines.holistic.hands import HandFinder
from faceattr_aio.pipelines.holistic.pose import PoseFinder
from faceattr_aio.pipelines.imaging import Floats, Pixels

_HEAD = slice(11)
_ARMS: dict[Part, slice] = {"left_hand": slice(15, 21, 2), "right_hand": slice(16, 22, 2)}
"""Wrist, little finger and index finger among the pose's rows."""


@dataclass(frozen=True)
class Person:
    """Rows of x, y, z in pixels of the picture (and visibility, of the pose) for each part that was looked for and
    found; and how probably a hand is a left one.
    """

    points: dict[Part, Floats]
    left: dict[Part, float] = field(default_factory=dict)


class PersonFinder:
    """All nets. Not safe for threads."""

    def __init__(self, poses: Sequence[PoseFinder], face: FaceFinder, hands: HandFinder) -> None:
        """`poses` by complexity, the cheapest first."""
        self._poses, self._face, self._hands = poses, face, hands

    def find(self, pixels: Pixels, parts: Collection[Part], complexity: int, clock: Clock) -> Person | None:
        """The person with these parts; nothing is run for the others. None when nobody is seen."""
        pose = self._poses[complexity].find(pixels)
        clock.lap("pose")
        if pose is None:
            return None
        person = Person({"pose": pose})
        if "face" in parts:
            self._add_face(person, pixels)
            clock.lap("face")
        if hands := [part for part in _ARMS if part in parts]:
            self._add_hands(person, pixels, hands)
            clock.lap("hands")
        return person

    def _add_face(self, person: Person, pixels: Pixels) -> None:
        points = self._face.find(pixels, person.points["pose"][_HEAD])
        if points is not None:
            person.points["face"] = points

    def _add_hands(self, person: Person, pixels: Pixels, hands: Collection[Part]) -> None:
        for part in hands:
            hand = self._hands.find(pixels, person.points["pose"][_ARMS[part]])
            if hand is not None:
                person.points[part], person.left[part] = hand.points, hand.left
