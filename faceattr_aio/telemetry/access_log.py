"""One line of log for each request. Nothing of a picture is in it, nor a file's name; what a client may choose was
bounded and escaped before. Knows not where the lines go.
"""

import logging

from faceattr_aio.telemetry.record import RequestRecord

log = logging.getLogger("faceattr_aio.access")

_LINE = "%(method)s %(path)s %(status)d %(ms).1f ms in=%(received_bytes)d out=%(sent_bytes)d id=%(id)s"
_LONGEST_PATH = 256


def tell(story: RequestRecord) -> None:
    """Logs the request, if anybody wants to know; what probes ask and get is of little interest."""
    level = logging.INFO if story.pipeline or story.kind else logging.DEBUG
    if not log.isEnabledFor(level):
        return
    fields = story.fields() | {"path": ascii(story.path[:_LONGEST_PATH])[1:-1]}
    line = _LINE
    if story.kind:
        line += " kind=%(kind)s"
    if story.pictures:
        line += f" pictures=%(pictures)d{''.join(f' {name}=%({name})d' for name in story.counts)} [{story.timing}]"
    record = log.makeRecord(log.name, level, "", 0, line, (fields,), None, extra={"request": fields})
    record.created = story.ended_at
    record.msecs = record.created % 1 * 1e3
    log.handle(record)
