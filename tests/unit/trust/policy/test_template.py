from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Denied, Malformed, Misused
from kloister.trust.policy.release import assemble, needed
from kloister.trust.policy.template import Material, Reference, check, parse, render
from tests.support.broker import policy
from tests.support.evidence import code_of

MATERIAL = {
    "db": Material(value=b"p4ss"),
    "licence": Material(value=b"l"),
    "layer": Material(value=bytes(32)),
    "server": Material(key=b"KEY", certificate=b"CERT", chain=b"CERTCA"),
}


def refused(path: str, value: Any) -> Malformed:
    with pytest.raises(Malformed) as caught:
        check(policy(path, value))
    return caught.value


def test_a_template_is_text_and_references() -> None:
    assert parse("a {{ secrets.db.value }}b{{secrets.db.hex}}", "x") == (
        "a ",
        Reference("db", "value"),
        "b",
        Reference("db", "hex"),
    )
    assert render("<{{ secrets.db.base64 }}|{{ secrets.db.hex }}>", MATERIAL) == b"<cDRzcw==|70347373>"
    assert render('{"a": {"b": 1}}', {}) == b'{"a": {"b": 1}}'


@pytest.mark.parametrize(
    "template",
    ["{{", "{{ secrets.db }}", "{{ secrets.db.value | upper }}", "{{ db.value }}", "{{ secrets.DB.value }}", "{{\n}}"],
)
def test_other_braces_are_refused(template: str) -> None:
    assert refused("services.0.environment.DB_PASSWORD", template).code == "template-syntax"


def test_a_value_is_never_a_template_again() -> None:
    tricky = Material(value=b"{{ secrets.layer.hex }}")
    assert render("{{ secrets.db.value }}", {"db": tricky}) == b"{{ secrets.layer.hex }}"


@pytest.mark.parametrize(
    ("template", "code"),
    [
        ("{{ secrets.nobody.value }}", "template-undefined"),
        ("{{ secrets.db.key }}", "template-part"),
        ("{{ secrets.server.value }}", "template-part"),
        ("{{ secrets.ca.key }}", "template-part"),
        ("{{ secrets.layer.value }}", "template-part"),
    ],
)
def test_what_cannot_be_filled_in_is_refused_when_applied(template: str, code: str) -> None:
    error = refused("services.0.environment.DB_PASSWORD", template)
    assert error.code == code
    assert error.text.startswith("services[0].environment.DB_PASSWORD")
    check(policy())


def test_raw_bytes_may_stand_in_files() -> None:
    check(policy("services.0.files.0.content", "{{ secrets.layer.value }}"))


def test_a_service_gets_what_it_uses_and_the_symmetric_keys() -> None:
    document = policy()
    app, other = document.services
    assert needed(document, app) == ("db", "server", "layer", "licence")
    assert needed(document, other) == ("layer",)


def test_the_bundle_is_the_service_filled_in() -> None:
    document = policy()
    bundle = assemble(document, document.services[0], MATERIAL)
    assert bundle.arguments == ("serve", "--licence=l")
    assert bundle.environment == {"DB_PASSWORD": "p4ss"}
    assert [(file.path, file.mode, file.owner, file.content) for file in bundle.files] == [
        ("/etc/tls/tls.key", 0o400, 1000, b"KEY"),
        ("/etc/tls/tls.crt", 0o400, 0, b"CERTCA"),
    ]
    assert bundle.slots == {"LOG_LEVEL": "^(info|debug)$"}
    assert bundle.keys == {"layer": bytes(32)}
    assert bundle.build()


@pytest.mark.parametrize("value", [b"\xff", b"a\0b"])
def test_an_upload_that_is_not_text_cannot_become_an_argument(value: bytes) -> None:
    document = policy()
    with pytest.raises(Denied) as caught:
        assemble(document, document.services[0], MATERIAL | {"licence": Material(value=value)})
    assert caught.value.code == "secret-not-text"


def test_no_value_shows_in_a_repr() -> None:
    shown = repr(Material(value=b"MARK", key=b"MARK"))
    assert "MARK" not in shown


def test_an_unchecked_part_is_a_bug_of_ours() -> None:
    with pytest.raises(Misused):
        Material().part("__class__")


@given(st.text())
def test_no_template_gives_another_error(template: str) -> None:
    code = code_of(lambda: parse(template, "x"))
    assert code == ("template-syntax" if "{{" in template else "accepted")
