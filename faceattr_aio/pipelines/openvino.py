"""OpenVINO for pipelines that have it installed: loaded without its reporter, one thread for a net, and nothing set for
the whole process. Knows no net and no pipeline.
"""

import sys
from importlib import import_module
from typing import Any

from faceattr_aio.errors import StartError

_REPORTER = "openvino_telemetry"
_CONFIG = {
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": 1,
    "INFERENCE_NUM_THREADS": 1,
    "ENABLE_CPU_PINNING": False,  # the system knows which cores the other workers use
    "INFERENCE_PRECISION_HINT": "f32",  # else the answer depends on whether the processor has 16-bit arithmetic
}


def load(extra: str = "openvino", otherwise: str = ", or set backend = 'cv2'") -> Any:
    """The library. It reports each import to its maker's statistics, from a thread and a process of its own. It has a
    stand-in for where the reporter is not installed, and takes it when that cannot be imported.

    Raises StartError where it cannot be imported, with the extra that has it and what there is to do `otherwise`.
    """
    absent = _REPORTER not in sys.modules
    if absent:
        sys.modules[_REPORTER] = None  # type: ignore[assignment]  # documented: stops the import
    try:
        return import_module("openvino")
    except ImportError as error:
        said = f"OpenVINO cannot be loaded ({error}): run pip install 'faceattr-aio[{extra}]'{otherwise}."
        raise StartError(said) from error
    finally:
        if absent:
            del sys.modules[_REPORTER]


def compile_net(openvino: Any, model: Any) -> Any:
    """An inference request for the model, which runs in the thread that asks."""
    return openvino.Core().compile_model(model, "CPU", _CONFIG).create_infer_request()
