"""Stands in for the recording harness of Azure's SDK tests: every case is live, against the server of this run.

The cases import this module by its name. What they are given is in KLOISTER_AZURE (JSON): `values` by the names that
they ask for, `ca`, `bearer`, and the `port` that the names below `.attest.azure.net` have here.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import socket
import unittest
from collections.abc import Callable
from typing import Any

from azure.core.credentials import AccessToken

_GIVEN = json.loads(os.environ["KLOISTER_AZURE"])
_real_getaddrinfo = socket.getaddrinfo


def _resolve(host: Any, _port: Any, *others: Any, **named: Any) -> Any:
    """The instances' names are on this machine; no other name is known."""
    if not str(host).endswith(".attest.azure.net"):
        raise socket.gaierror(socket.EAI_NONAME, f"{host} is not to be asked for")
    return _real_getaddrinfo("127.0.0.1", _GIVEN["port"], *others, **named)


socket.getaddrinfo = _resolve  # type: ignore[assignment]  # what it does not look at has any type


class Credential:
    """A fixed bearer token."""

    def get_token(self, *_scopes: str, **_others: Any) -> AccessToken:
        """It, for ever."""
        return AccessToken(_GIVEN["bearer"], 1 << 32)


class AzureTestCase(unittest.TestCase):
    """What the cases inherit."""

    is_live = True

    def get_credential(self, _client: type) -> Credential:
        """Of an administrator."""
        return Credential()

    def create_client_from_credential(self, client: Callable[..., Any], credential: Credential, **named: Any) -> Any:
        """A client that trusts our authority and asks once."""
        made = client(credential=credential, connection_verify=_GIVEN["ca"], retry_total=0, **named)
        self.addCleanup(made.close)
        return made


class PowerShellPreparer:
    """Gives a case the values that it names, or all of them where it takes any."""

    def __init__(self, _directory: str, **_fakes: str) -> None:
        pass

    def __call__(self, case: Callable[..., None]) -> Callable[..., None]:
        """The case, prepared."""
        parameters = inspect.signature(case).parameters
        takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
        given = {name: value for name, value in _GIVEN["values"].items() if takes_any or name in parameters}

        @functools.wraps(case)
        def prepared(*arguments: Any, **named: Any) -> None:
            case(*arguments, **named, **given)

        return prepared
