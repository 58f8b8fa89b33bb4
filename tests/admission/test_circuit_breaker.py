import asyncio

import pytest

from faceattr_aio.admission.circuit_breaker import CircuitBreaker


async def late() -> int:
    await asyncio.Event().wait()
    return 1


async def at_once() -> int:
    return 2


async def failing() -> int:
    raise ConnectionRefusedError("nothing listens there")


async def test_it_returns_the_result_and_none_for_a_call_that_takes_too_long() -> None:
    breaker = CircuitBreaker(0.05, "nothing is known")
    assert [await breaker.call(at_once), await breaker.call(late), await breaker.call(at_once)] == [2, None, 2]
    assert (breaker.failures, breaker.is_open) == (1, False)
    assert [await breaker.call(late) for _ in range(3)] == [None] * 3
    assert (breaker.failures, breaker.is_open) == (4, True)
    assert await breaker.call(at_once) is None


async def closed_in_its_handshake() -> int:
    raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")


async def test_a_connection_that_is_closed_in_its_handshake_counts_as_a_failure() -> None:
    breaker = CircuitBreaker(0.05, "nothing is known")
    assert await breaker.call(closed_in_its_handshake) is None
    assert breaker.failures == 1


async def test_it_opens_after_three_failures_in_a_row_for_five_seconds_and_logs_it_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = [0.0]
    breaker = CircuitBreaker(30.0, "nothing is known", lambda: clock[0])

    async def call(*functions: object) -> bool:
        for function in functions:
            await breaker.call(function)  # type: ignore[arg-type]  # one of the above
        return breaker.is_open

    assert not await call(failing, failing, at_once, failing, failing)
    assert caplog.messages == []
    assert await call(failing)
    assert caplog.messages == ["nothing is known for 5 s: Redis: nothing listens there"]
    clock[0] = 5.0
    assert not breaker.is_open
    assert await call(failing)  # one more is enough, until a call succeeds
    assert breaker.failures == 6
    assert len(caplog.messages) == 2
    clock[0] = 10.0
    assert await breaker.call(at_once) == 2
