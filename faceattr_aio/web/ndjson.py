"""An answer that is sent line by line, to a client that may take its time but not for ever. Knows not what is in it."""

import asyncio
import json

from aiohttp import hdrs, web

from faceattr_aio.errors import ClientGone
from faceattr_aio.pipeline import NDJSON
from faceattr_aio.telemetry.record import REQUEST_ID, record_of
from faceattr_aio.web.responses import LINGERING


class Lines(web.StreamResponse):
    """What is sent line by line; stays with the connection as long as every answer."""

    def __init__(self, request: web.Request, cache_control: str) -> None:
        super().__init__()
        self.content_type = NDJSON
        self.headers[REQUEST_ID] = record_of(request).id
        self.headers[hdrs.CACHE_CONTROL] = cache_control
        self.headers["X-Accel-Buffering"] = "no"  # nginx would keep lines back
        self._request = request

    async def add(self, document: dict[str, object], within_s: float) -> None:
        """Sends a line. Raises ClientGone, and ends the connection, when the client has not taken it in time."""
        line = json.dumps(document).encode() + b"\n"
        try:
            async with asyncio.timeout(within_s):
                await self.prepare(self._request)
                await self.write(line)
                await self._request.writer.drain()
        except TimeoutError as error:
            if self._request.transport:
                self._request.transport.abort()
            raise ClientGone from error
        record_of(self._request).sent += len(line)

    async def write_eof(self, data: bytes = b"") -> None:
        """Closes the connection when the rest of the body is not to be waited for."""
        await super().write_eof(data)
        if not await self._request.app[LINGERING].run_out(self._request):
            self._request.protocol.force_close()
