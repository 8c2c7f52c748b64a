"""The launcher in a directory that plays the enclave's root; all imports come first, nothing of ours is in there."""

from __future__ import annotations

import os
import sys

import kloister.runtime.launcher.private
import kloister.runtime.launcher.release  # noqa: F401 -- loaded late by the launcher
from kloister.runtime.launcher.main import main

if __name__ == "__main__":
    for codec in ("ascii", "latin-1", "utf-16-be"):
        "".encode(codec)  # loads it
    os.chroot(sys.argv[1])
    os.chdir("/")
    os._exit(main())
