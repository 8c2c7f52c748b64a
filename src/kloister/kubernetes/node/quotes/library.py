"""Quotes of Intel's own library in this process, for nodes without aesmd: libsgx_dcap_ql, by ctypes.

Three functions of `sgx_dcap_ql_wrapper.h` are called, each answering a `quote3_error_t`. The library loads the quoting
enclaves itself, so the agent needs /dev/sgx_enclave and /dev/sgx_provision, and the library that fetches certificates
(libsgx-dcap-default-qpl, on Azure az-dcap-client) beside it.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kloister.errors import Unavailable
from kloister.formats.protocol import aesm
from kloister.formats.protocol.aesm import Answer, Asked
from kloister.formats.protocol.aesm_codes import AesmCode, of_library
from kloister.kubernetes.node.quotes.keys import check_key_id, of_keys, parameter
from kloister.kubernetes.node.quotes.trying import try_quote

LIBRARY = "libsgx_dcap_ql.so.1"
"""As Intel's package libsgx-dcap-ql installs it."""

_TARGET_INFO, _REPORT = 512, 432  # bytes, sgx_target_info_t and sgx_report_t
_KEY_ID = 32  # bytes
_MOST_QUOTE = 128 * 1024  # bytes; Gramine takes 8 KiB
_OUT_OF_PROCESS = "SGX_AESM_ADDR"  # with it in the environment the library asks aesmd, which is not there
_SYMBOLS = ("sgx_qe_get_target_info", "sgx_qe_get_quote_size", "sgx_qe_get_quote")
_INSTALL = "Install libsgx-dcap-ql and libsgx-dcap-default-qpl beside the agent, or aesmd on the node."


class LibraryBackend:
    """Calls the library one after another in a thread of its own: it loads enclaves, fetches, and waits.

    Args:
        name: of the library, or its path.

    Raises:
        Unavailable: `quote-library-missing`, `quote-library-symbols`.
    """

    name = "library"

    def __init__(self, name: str = LIBRARY) -> None:
        os.environ.pop(_OUT_OF_PROCESS, None)
        self._functions = _load(name)
        self._thread = ThreadPoolExecutor(1, "quote-library")

    async def answer(self, request: Asked) -> Answer:
        """As AESM answers, with its numbers for the library's errors."""
        match request:
            case aesm.InitQuote() | aesm.QuoteSize() | aesm.GetQuote():
                refusal = check_key_id(request.key_id)
                if refusal:
                    return Answer(request.NUMBER, refusal)
                return await asyncio.get_running_loop().run_in_executor(self._thread, self._asked, request)
            case _:
                return of_keys(request)

    async def trial(self) -> None:
        """All calls of a quote, up to the REPORT that only an enclave can make: see `trying`. Raises as that."""
        await try_quote(self.answer)

    async def close(self) -> None:
        """Let the thread end; a call under way is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _asked(self, request: aesm.InitQuote | aesm.QuoteSize | aesm.GetQuote) -> Answer:
        if isinstance(request, aesm.InitQuote):
            return self._init(request)
        return self._size(request) if isinstance(request, aesm.QuoteSize) else self._quote(request)

    def _init(self, request: aesm.InitQuote) -> Answer:
        if request.want_key and (request.size or 0) < _KEY_ID:
            return parameter(request)
        info = ctypes.create_string_buffer(_TARGET_INFO)
        failed = self._call("sgx_qe_get_target_info", info)
        if failed:
            return Answer(request.NUMBER, failed)
        key = bytes(_KEY_ID) if request.want_key else None  # the library does not tell the key's name
        return Answer(request.NUMBER, target_info=info.raw, key_size=_KEY_ID, key=key)

    def _size(self, request: aesm.QuoteSize) -> Answer:
        size = ctypes.c_uint32()
        failed = self._call("sgx_qe_get_quote_size", ctypes.byref(size))
        return Answer(request.NUMBER, failed) if failed else Answer(request.NUMBER, count=size.value)

    def _quote(self, request: aesm.GetQuote) -> Answer:
        if request.qe_report_info:
            return Answer(request.NUMBER, AesmCode.NO_QE_REPORT)  # these functions have no place for it
        size = self._size(aesm.QuoteSize(request.key_id))
        if size.count is None:
            return Answer(request.NUMBER, size.code)
        if len(request.report) != _REPORT or not size.count <= request.size <= _MOST_QUOTE:
            return parameter(request)
        quote = ctypes.create_string_buffer(size.count)
        failed = self._call("sgx_qe_get_quote", request.report, ctypes.c_uint32(size.count), quote)
        return Answer(request.NUMBER, failed) if failed else Answer(17, quote=quote.raw.ljust(request.size, b"\0"))

    def _call(self, name: str, *arguments: Any) -> AesmCode | None:
        error = self._functions[name](*arguments)
        return of_library(error) if error else None


def _load(name: str) -> dict[str, Any]:
    try:
        library = ctypes.CDLL(name)
        functions = {symbol: getattr(library, symbol) for symbol in _SYMBOLS}
    except OSError as error:
        raise Unavailable("quote-library-missing", f"{name} cannot be loaded: {error}.", _INSTALL) from None
    except AttributeError:
        raise Unavailable(
            "quote-library-symbols", f"{name} is not Intel's quote library: it lacks {', '.join(_SYMBOLS)}.", _INSTALL
        ) from None
    for function in functions.values():
        function.restype = ctypes.c_uint32
    return functions
