"""Imported only by the fork server, from which workers are forked: it ignores signals, which may be sent to the whole
process group, and exits when its server does.
"""

import signal

for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
