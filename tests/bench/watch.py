# SPDX-License-Identifier: LGPL-2.1-or-later
"""tests/bench/watch.c for programs in Python: the driver's figure for the whole GPU, and what this process holds of the host's memory
but for pages of files, both at their peak."""
import re
import threading
import time

PAUSE = 0.005


def host():
    """Bytes; 0: the system does not tell"""
    try:
        with open("/proc/self/status", encoding="ascii") as f:
            found = re.search(r"^RssAnon:\s*(\d+)", f.read(), re.M)
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as f:
            locked = sum(int(m[2], 16) - int(m[1], 16)
                         for m in (re.match(r"([0-9a-f]+)-([0-9a-f]+)", line) for line in f if "/dev/zero (deleted)" in line))
    except OSError:
        return 0
    return int(found[1]) * 1024 + locked if found else 0


class Watch(threading.Thread):
    """torch: the module; None: only the host is looked at. Peaks in bytes."""

    def __init__(self, torch=None):
        super().__init__(daemon=True)
        self.torch, self.gpu, self.host = torch, 0, 0
        self.start()

    def look(self):
        if self.torch:
            free, total = self.torch.cuda.mem_get_info()
            self.gpu = max(self.gpu, total - free)
        self.host = max(self.host, host())

    def reset(self):
        self.gpu = self.host = 0

    def run(self):
        while True:
            self.look()
            time.sleep(PAUSE)
