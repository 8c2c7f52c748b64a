"""What the layer's interpreter executes before the launcher is imported.

`dataclasses` imports `inspect`, and with it the tools that take Python apart, for one thing: to write a signature into
the docstring of a class that has none. Nobody reads docstrings there. A launch waits 10 ms less without them, and the
enclave holds ten modules less.

OpenSSL reads its settings from the image's own /etc or /usr unless it is told where else: they could load modules of
the image into the launcher, and they are made for another OpenSSL. The application does not inherit the variable.
"""

from __future__ import annotations

LEFT_OUT = "inspect"
PRELUDE = f"""\
import posix, sys
posix.putenv(b"OPENSSL_CONF", b"/dev/null")
absent = type(sys)({LEFT_OUT!r})
absent.signature = lambda _class: ""
absent.unwrap = lambda function: function
sys.modules[{LEFT_OUT!r}] = absent
del absent
"""
