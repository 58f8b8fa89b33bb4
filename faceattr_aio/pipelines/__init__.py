"""The built-in pipelines faces, holistic and anime, and what they share. Workers import them by dotted name."""

from typing import Literal

Backend = Literal["cv2", "openvino"]
"""The library that runs the networks of a pipeline."""
