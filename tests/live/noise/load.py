# SPDX-License-Identifier: GPL-2.0-only
"""Threads that take turns, a process pool's worth of forks, alarms: CPython signals no thread."""

import queue
import signal
import subprocess
import sys
import threading
import time

end = time.monotonic() + float(sys.argv[1])
jobs = queue.Queue(10)


def work():
    while (job := jobs.get()) is not None:
        sum(range(job))


signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
workers = [threading.Thread(target=work) for _ in range(4)]
for worker in workers:
    worker.start()
while time.monotonic() < end:
    jobs.put(10000)
    subprocess.run(["true"], check=True)
for _ in workers:
    jobs.put(None)
for worker in workers:
    worker.join()
signal.setitimer(signal.ITIMER_REAL, 0)  # it would end the interpreter on its way out
print("done")
