"""One log line for each request. It has no picture data and no file names; values sent by the client are bounded and
escaped.
"""

import logging

from faceattr_aio.telemetry.record import RequestRecord

log = logging.getLogger("faceattr_aio.access")

_LINE = "%(method)s %(path)s %(status)d %(ms).1f ms in=%(received_bytes)d out=%(sent_bytes)d id=%(id)s"
_MAX_PATH = 256


def log_request(request: RequestRecord) -> None:
    """Log the request at INFO, or at DEBUG when it was neither for a pipeline nor a failure, such as a probe."""
    level = logging.INFO if request.pipeline or request.kind else logging.DEBUG
    if not log.isEnabledFor(level):
        return
    fields = request.fields() | {"path": ascii(request.path[:_MAX_PATH])[1:-1]}
    line = _LINE
    if request.kind:
        line += " kind=%(kind)s"
    if request.pictures:
        line += f" pictures=%(pictures)d{''.join(f' {name}=%({name})d' for name in request.counts)} [{request.timing}]"
    record = log.makeRecord(log.name, level, "", 0, line, (fields,), None, extra={"request": fields})
    record.created = request.ended_at
    record.msecs = record.created % 1 * 1e3
    log.handle(record)
