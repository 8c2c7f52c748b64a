"""What AESM's clients ask, over the socket, of a helper in front of a platform that runs."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

import pytest

from kloister.formats.protocol import aesm
from kloister.formats.protocol.aesm import ECDSA_P256, Answer, Legacy
from kloister.formats.protocol.aesm_codes import AesmCode, reason_of
from kloister.formats.sgx import Report, TargetInfo
from kloister.kubernetes.node.quotes.reasons import REASONS
from kloister.tee.simulated.client import PlatformClient
from kloister.trust.verifier import Collateral, Root, verify_sgx
from tests.support.aesm import BUFFER, receive, unpadded
from tests.unit.kubernetes.node.quotes.helper import Helper

OTHER_KEY = ECDSA_P256[:154] + b"\x03" + bytes(101)


def test_a_quote_as_gramine_gets_it_verifies(helper: Helper, platform: PlatformClient) -> None:
    init = helper.client.init()
    assert (init.code, init.key_size, len(init.key or b"")) == (AesmCode.SUCCESS, 32, 32)
    assert init.target_info is not None
    data = bytes(range(64))
    answer = helper.client.get(platform.report_content(b"application", init.target_info, data))
    assert (answer.code, len(answer.quote or b""), answer.qe_report_info) == (AesmCode.SUCCESS, BUFFER, None)
    quote = unpadded(answer.quote)
    assert answer.quote == quote.ljust(BUFFER, b"\0")
    collateral = platform.collateral()
    verified = verify_sgx(quote, Collateral.from_json(collateral), [Root.from_der(platform.root())], datetime.now(UTC))
    assert verified.tcb_status == "UpToDate"
    assert verified.report.report_data == data


def test_dcap_qvl_accepts_it_under_the_simulators_root(helper: Helper, platform: PlatformClient, report: bytes) -> None:
    dcap_qvl = pytest.importorskip("dcap_qvl")
    quote = unpadded(helper.client.get(report).quote)
    given = dcap_qvl.QuoteCollateralV3.from_json(json.dumps(platform.collateral()))
    now = int(datetime.now(UTC).timestamp())
    assert dcap_qvl.verify_with_root_ca(quote, given, platform.root(), now).status == "UpToDate"


def test_the_size_that_is_told_is_the_quotes(helper: Helper, report: bytes) -> None:
    size = helper.client.ask(aesm.QuoteSize(ECDSA_P256)).count
    assert size == len(unpadded(helper.client.get(report).quote))
    exact = helper.client.ask(aesm.GetQuote(report, ECDSA_P256, size=size))
    assert (exact.code, len(exact.quote or b"")) == (AesmCode.SUCCESS, size)


def test_the_qe_tells_the_asker_that_it_made_the_quote(helper: Helper, report: bytes) -> None:
    asker = TargetInfo.parse(helper.client.target_info())
    nonce = bytes(range(16))
    answer = helper.client.get(report, nonce + asker.build() + bytes(432))
    told = answer.qe_report_info or b""
    assert told[:528] == nonce + asker.build()
    body = Report.parse(told[528:]).body
    assert body.report_data == hashlib.sha256(nonce + unpadded(answer.quote)).digest() + bytes(32)


def test_a_target_of_the_qes_report_that_is_none_is_refused(helper: Helper, report: bytes) -> None:
    assert helper.client.get(report, bytes(16) + b"\xff" * 512 + bytes(432)) == Answer(17, AesmCode.PARAMETER)


def test_init_without_the_key_tells_its_size(helper: Helper) -> None:
    answer = helper.client.ask(aesm.InitQuote(ECDSA_P256, want_key=False))
    assert (answer.code, answer.key_size, answer.key) == (AesmCode.SUCCESS, 32, None)
    assert answer.target_info == helper.client.target_info()


def test_the_keys_that_there_are(helper: Helper) -> None:
    assert helper.client.ask(aesm.KeyNumber()) == Answer(21, count=1)
    assert helper.client.ask(aesm.KeyIds(1000)) == Answer(22, key_ids=ECDSA_P256)


def key_list(*ids: bytes) -> bytes:
    return bytes(4) + len(ids).to_bytes(4, "little") + b"".join(ids)


def test_a_key_is_chosen_out_of_a_list(helper: Helper) -> None:
    mine = ECDSA_P256[:158] + b"spid of the caller".ljust(98, b"\0")
    for ids in (None, b""):
        assert helper.client.ask(aesm.SelectKey(ids)).key_ids == ECDSA_P256
    assert helper.client.ask(aesm.SelectKey(key_list(OTHER_KEY, mine))).key_ids == mine


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (aesm.InitQuote(None, want_key=True, size=32), AesmCode.PARAMETER),
        (aesm.InitQuote(ECDSA_P256[:158], want_key=True, size=32), AesmCode.PARAMETER),
        (aesm.InitQuote(ECDSA_P256, want_key=True, size=31), AesmCode.PARAMETER),
        (aesm.InitQuote(ECDSA_P256, want_key=True), AesmCode.PARAMETER),
        (aesm.InitQuote(OTHER_KEY, want_key=True, size=32), AesmCode.UNSUPPORTED_ATT_KEY_ID),
        (aesm.QuoteSize(None), AesmCode.PARAMETER),
        (aesm.QuoteSize(OTHER_KEY), AesmCode.UNSUPPORTED_ATT_KEY_ID),
        (aesm.GetQuote(bytes(431), ECDSA_P256, size=BUFFER), AesmCode.PARAMETER),
        (aesm.GetQuote(bytes(432), None, size=BUFFER), AesmCode.PARAMETER),
        (aesm.GetQuote(bytes(432), OTHER_KEY, size=BUFFER), AesmCode.UNSUPPORTED_ATT_KEY_ID),
        (aesm.GetQuote(bytes(432), ECDSA_P256, bytes(959), BUFFER), AesmCode.PARAMETER),
        (aesm.GetQuote(bytes(432), ECDSA_P256, size=BUFFER), AesmCode.INVALID_REPORT),
        (aesm.GetQuote(b"\xff" * 432, ECDSA_P256, size=BUFFER), AesmCode.INVALID_REPORT),
        (aesm.SelectKey(key_list(OTHER_KEY)), AesmCode.UNSUPPORTED_ATT_KEY_ID),
        (aesm.SelectKey(key_list()), AesmCode.PARAMETER),
        (aesm.SelectKey(b"x"), AesmCode.PARAMETER),
        (aesm.KeyIds(255), AesmCode.PARAMETER),
        (aesm.KeyIds(None), AesmCode.PARAMETER),
        *((legacy, AesmCode.SERVICE_UNAVAILABLE) for legacy in Legacy),
    ],
)
def test_refusals_have_aesms_own_numbers(helper: Helper, request_: aesm.Request, code: AesmCode) -> None:
    assert helper.client.ask(request_) == Answer(aesm.number_of(request_), code)


@pytest.mark.parametrize("size", [0, 3987, 131073, 2**32 - 1])
def test_the_buffer_for_a_quote_is_neither_too_small_nor_immense(helper: Helper, report: bytes, size: int) -> None:
    assert helper.client.get(report).code == AesmCode.SUCCESS
    assert helper.client.ask(aesm.GetQuote(report, ECDSA_P256, size=size)) == Answer(17, AesmCode.PARAMETER)


@pytest.mark.parametrize("at", [64, 320, 431])
def test_a_changed_report_gets_no_quote(helper: Helper, report: bytes, at: int) -> None:
    changed = bytearray(report)
    changed[at] ^= 1
    assert helper.client.get(report).code == AesmCode.SUCCESS
    assert helper.client.get(bytes(changed)) == Answer(17, AesmCode.INVALID_REPORT)


def test_a_report_for_another_enclave_gets_no_quote(helper: Helper, platform: PlatformClient) -> None:
    other = bytearray(helper.client.target_info())
    other[0] ^= 1
    report = platform.report_content(b"application", bytes(other), bytes(64))
    assert helper.client.get(report) == Answer(17, AesmCode.INVALID_REPORT)


@pytest.mark.parametrize(
    ("body", "number"), [(b"garbage", 20), (b"\x9a\x06\x00", 20), (b"\x7a\x00", 15), (b"\x7a\x02\x18\x07", 15)]
)
def test_a_malformed_message_is_told_so(helper: Helper, body: bytes, number: int) -> None:
    data = helper.client.raw(aesm.frame(body))
    assert aesm.parse_answer(data) == Answer(number, AesmCode.PARAMETER)


@pytest.mark.parametrize("prefix", [bytes(4), b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n"])
def test_a_frame_of_no_known_length_ends_the_connection(helper: Helper, prefix: bytes) -> None:
    assert helper.client.raw(prefix) == b""
    assert helper.client.init().code == AesmCode.SUCCESS


def test_one_connection_is_one_request(helper: Helper) -> None:
    frame = aesm.frame(aesm.build_request(aesm.KeyNumber()))
    with helper.client.connected() as sock:
        sock.sendall(frame)
        size = aesm.frame_size(receive(sock, 4), 100)
        assert aesm.parse_answer(receive(sock, size)).count == 1
        assert sock.recv(1) == b""


def test_a_request_may_come_in_pieces(helper: Helper) -> None:
    frame = aesm.frame(aesm.build_request(aesm.KeyNumber()))
    with helper.client.connected() as sock:
        for byte in frame:
            sock.send(bytes([byte]))
        assert receive(sock, 100)[4:] == aesm.build_answer(Answer(21, count=1))


def test_every_error_of_aesm_has_a_row_of_its_own() -> None:
    errors = [code for code in AesmCode if code != AesmCode.SUCCESS]
    assert len(errors) > 30
    assert [code for code in errors if reason_of(code) not in REASONS] == []
