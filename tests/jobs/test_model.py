import asyncio
import logging
import subprocess
import sys

import pytest

from faceattr_aio.jobs.model import repeat

log = logging.getLogger(__name__)
MAKE_APP = """
import sys, faceattr_aio
faceattr_aio.make_app(faceattr_aio.Config.model_validate({"models": {"dir": "/nowhere"}}))
print(*sorted({"celery", "kombu", "redis"} & sys.modules.keys()))
"""


def test_a_server_with_jobs_in_memory_imports_neither_celery_nor_redis() -> None:
    run = subprocess.run([sys.executable, "-c", MAKE_APP], capture_output=True, text=True, check=True)
    assert not run.stdout.split()


async def test_a_repeated_step_continues_after_any_exception_and_each_type_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("faceattr_aio.jobs.model.POLL_S", 0.001)
    errors = [OSError(), ValueError(), KeyError(), ValueError(), OSError()]
    done = asyncio.Event()

    async def step() -> None:
        if errors:
            raise errors.pop()
        done.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(repeat(step, log, (OSError,)))
    async with asyncio.timeout(30):
        await done.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [record.exc_info and record.exc_info[0] for record in caplog.records if record.levelname == "ERROR"] == [
        ValueError,
        KeyError,
    ]
