"""schemathesis asks what the OpenAPI document says may be asked, and what it says may not.

No answer is a 5xx, and each is one that the document names: its status, media type and body.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.attestation import BEARER, running, settings

BASE = "https://testserver"  # the name by which schemathesis asks an application
EXAMPLES = 8  # of each operation and mode
CHECKS: list[Any] = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
]  # fmt: skip
BRIEF = hypothesis(
    max_examples=EXAMPLES, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    given = settings(tmp_path_factory.mktemp("service"), [{"base_url": BASE, "simulated": True}])
    with running(given) as process:
        yield schemathesis.openapi.from_asgi("/openapi.json", process.app)


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_operation_answers_as_the_document_says(schema: Any, mode: GenerationMode) -> None:
    asked: set[str] = set()
    for found in schema.get_all_operations():
        operation = found.ok()

        @BRIEF
        @given(operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            case.call_and_validate(checks=CHECKS, headers={"Authorization": f"Bearer {BEARER}"})
            asked.add(f"{case.operation.method} {case.operation.path}")

        with contextlib.suppress(Unsatisfiable):  # nothing can be wrong where nothing is asked for
            ask()
    assert len(asked) >= (18 if mode is GenerationMode.POSITIVE else 12)
