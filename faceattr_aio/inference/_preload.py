"""Imported by the process that workers are forked from, and by no other: signals may go to the whole group, and that
process ends when its server does.
"""

import signal

for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
