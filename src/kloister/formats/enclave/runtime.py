"""Where the runtime layer stands in a converted image, and how its first program is started.

Both sides need the same words: `images.runtime_layer` packs the files, `runtime.runner` and the simulated platform
start them. Nothing of the environment or of the command line of the host may reach this argument vector.
"""

from __future__ import annotations

KLOISTER_ROOT = "/.kloister"
RUNTIME_ROOT = "/.kloister/runtime"
ENCLAVE_ROOT = "/.kloister/enclave"

PRIVATE_PARTS = f"{KLOISTER_ROOT}/private"
"""Where the encrypted parts of an image stand, named by their digests' hexadecimal digits."""

MEMORY = f"{KLOISTER_ROOT}/memory"
"""Where a pod has memory of its own mounted."""

PRIVATE_ROOT = f"{MEMORY}/private"
"""What measured links at private paths lead into, in images whose private entries are behind links."""

LOADER = "/.kloister/runtime/ld.so"
"""The first code of a simulated enclave, measured page by page (ADR 1)."""

PYTHON = "/.kloister/runtime/bin/python"
LIBRARIES = "/.kloister/runtime/lib"
MAIN = "/.kloister/runtime/main.pyc"

RUNTIME_ARGV = (
    LOADER,
    "--inhibit-cache",  # the image's own /etc/ld.so.cache names libraries of another libc
    "--library-path",
    LIBRARIES,
    PYTHON,
    "-I",  # isolated: no PYTHON* variables, no current directory, no user site
    "-S",  # no site-packages, no .pth files
    "-B",  # nothing is written
    "-X",
    "utf8",  # not the host's locale
    MAIN,
)
"""The exact argument vector; the environment is empty, the working directory is `/`.

The interpreter finds its modules by the landmark `lib/pythonX.Y/os.pyc` beside `bin/`, so `sys.path` is
`/.kloister/runtime/lib/pythonX.Y` and its `lib-dynload` and nothing else.
"""

ENTRY_POINT = "kloister.runtime.launcher.main:main"
"""What `main.pyc` calls: `main() -> int`, whose result is the exit status."""

POD_MAIN = "/.kloister/runtime/pod.pyc"
POD_ARGV = (*RUNTIME_ARGV[:-1], POD_MAIN)
"""What a container runtime starts: the image configuration's entry point. The sandbox of `kloister run` never does."""

POD_ENTRY_POINT = "kloister.runtime.pod.main:main"
"""What `pod.pyc` calls."""
