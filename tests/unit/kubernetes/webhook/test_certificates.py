from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store
from hypothesis import given
from hypothesis import strategies as st

from kloister.kubernetes.webhook.certificates import LIFE, MOST, RENEW_AFTER, bundle, create

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
NAMES = ("kloister-webhook.kloister-system.svc", "kloister-webhook.kloister-system")


def test_the_certificate_is_good_for_the_service_under_its_own_authority() -> None:
    authority = create(NAMES, AT)
    store = Store([x509.load_pem_x509_certificate(authority.ca)])
    verifier = PolicyBuilder().store(store).time(AT).build_server_verifier(x509.DNSName(NAMES[0]))
    assert len(verifier.verify(x509.load_pem_x509_certificate(authority.certificate), [])) == 2


def test_a_successor_is_due_long_before_the_end() -> None:
    authority = create(NAMES, AT)
    assert not authority.due(AT + RENEW_AFTER - timedelta(seconds=1))
    assert authority.due(AT + RENEW_AFTER)
    assert RENEW_AFTER * 2 < LIFE


def test_the_key_does_not_show() -> None:
    assert "PRIVATE" not in repr(create(NAMES, AT))


def test_a_bundle_keeps_the_others_drops_the_expired_and_names_none_twice() -> None:
    old, other, mine = create(NAMES, AT - LIFE), create(NAMES, AT - RENEW_AFTER), create(NAMES, AT)
    assert bundle(old.ca + other.ca, mine.ca, AT) == other.ca + mine.ca
    assert bundle(other.ca + mine.ca + mine.ca, mine.ca, AT) == other.ca + mine.ca
    assert bundle(b"", mine.ca, AT) == mine.ca


def test_a_bundle_does_not_grow_for_ever() -> None:
    mine, oldest = create(NAMES, AT), create(NAMES, AT - timedelta(days=1))
    present = oldest.ca + b"".join(create(NAMES, AT).ca for _ in range(MOST))
    made = bundle(present, mine.ca, AT)
    assert made.count(b"BEGIN CERTIFICATE") == MOST
    assert oldest.ca not in made
    assert made.endswith(mine.ca)


@given(st.binary(max_size=200))
def test_foreign_bytes_in_the_field_do_not_matter(junk: bytes) -> None:
    mine = create(NAMES, AT)
    assert bundle(junk, mine.ca, AT) == mine.ca
    ssl.create_default_context(cadata=bundle(junk + b"-----END CERTIFICATE-----", mine.ca, AT).decode())
