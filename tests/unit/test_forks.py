"""What tests of sandboxes count on: a forked child has one thread, whatever its parent runs."""

from __future__ import annotations

import os
from pathlib import Path

import grpc


def test_a_child_has_one_thread_beside_grpc(tmp_path: Path) -> None:
    with grpc.insecure_channel(f"unix:{tmp_path}/none") as channel:
        grpc.channel_ready_future(channel)
        pid = os.fork()
        if pid == 0:
            os._exit(len(list(Path("/proc/self/task").iterdir())))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
