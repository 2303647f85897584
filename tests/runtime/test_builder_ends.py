"""The process that builds an engine does not outlive the one that asked for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

CHILD = (
    "from runtime.backends.tensorrt_builder import _end_with_parent\n"
    "_end_with_parent()\n"
    "import os, time; print(os.getpid(), flush=True); time.sleep(120)\n"
)
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"


@pytest.mark.skipif(sys.platform != "linux", reason="a service of Linux")
def test_a_builder_ends_with_its_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.kill(child, 0)  # it is there
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert parent.stdout.read() == ""  # comes to an end when the child does
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)  # nobody has fetched its status yet
    parent.stdout.close()
