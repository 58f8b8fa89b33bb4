"""Sets the number of inputs: a few that are always the same, or FACEATTR_FUZZ_INPUTS random ones (`make fuzz`)."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.fuzz.tally import EXAMPLES, IS_SLICE, Tally

settings.register_profile(
    "fuzz",
    max_examples=EXAMPLES,
    deadline=None,  # other programs may slow down the machine
    derandomize=IS_SLICE,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # one tally counts all examples
)
settings.load_profile("fuzz")


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    tally = Tally(request.node.name)
    yield tally
    tally.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if Tally.lines:
        terminalreporter.section("fuzzing")
    for line in Tally.lines:
        terminalreporter.line(line)
