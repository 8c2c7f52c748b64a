"""The runtime layer: the launcher and all that it needs, as one versioned layer that works beside any libc, or none.

It holds the host's own dynamic loader (the first code of a simulated enclave), the running Python interpreter, its
shared libraries without their debug parts, and the import closure of the launcher as byte code without paths and dates:
the same inputs give the same bytes. How it is started is `kloister.formats.enclave.runtime.RUNTIME_ARGV`:

    /.kloister/runtime/ld.so --inhibit-cache --library-path /.kloister/runtime/lib
        /.kloister/runtime/bin/python -I -S -B -X utf8 /.kloister/runtime/main.pyc
"""

from kloister.images.runtime_layer.cache import cache_directory, runtime_layer
from kloister.images.runtime_layer.layer import RuntimeLayer

__all__ = ["RuntimeLayer", "cache_directory", "runtime_layer"]
