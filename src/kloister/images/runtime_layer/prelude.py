"""What the layer's interpreter executes before the launcher is imported.

`dataclasses` imports `inspect`, and with it the tools that take Python apart, for one thing: to write a signature into
the docstring of a class that has none. Nobody reads docstrings there. A launch waits 10 ms less without them, and the
enclave holds ten modules less.
"""

from __future__ import annotations

LEFT_OUT = "inspect"
PRELUDE = f"""\
import sys
absent = type(sys)({LEFT_OUT!r})
absent.signature = lambda _class: ""
absent.unwrap = lambda function: function
sys.modules[{LEFT_OUT!r}] = absent
del absent
"""
