from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys
from kloister.serve import workers

def work(sock, number):
    os.write(1, b"%d\\n" % number)
    if number == int(sys.argv[1]):
        os.kill(os.getppid(), signal.SIGTERM)
    signal.pause()

workers.run(workers.bind("127.0.0.1:0", 4), work)
"""


@pytest.mark.parametrize("number", range(4))
def test_who_is_told_to_stop_while_workers_are_started_leaves_none(number: int) -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(number)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = process.stdout.read()  # to its end: whoever could still write has ended
        assert process.wait(60) == 0
    assert b"%d\n" % number in said
