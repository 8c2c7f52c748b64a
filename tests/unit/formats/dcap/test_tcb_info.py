"""TCB info at its borders, and what it says of trust domains (Intel PCS API v3 and v4, "Get TCB Info")."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from kloister.formats.dcap import Component, TcbInfo, TcbLevel, TcbStatus, TdxModule
from tests.support.evidence import Forge, code_of
from tests.support.trust_domains import TdForge, module

Fields = dict[str, Any]
Change = Callable[[Fields], object]
SGX, TDX = Forge().documents()["tcb_info"], TdForge().documents()["tcb_info"]
MIB = 1 << 20


def read(change: Change, text: str = TDX) -> TcbInfo:
    """The document, changed."""
    document = json.loads(text)
    change(document)
    return TcbInfo.parse(json.dumps(document))


def code(change: Change, text: str = TDX) -> str:
    """The reason code with which the changed document is refused."""
    return code_of(lambda: read(change, text))


def level(change: Change) -> Change:
    """A change of the first level."""
    return lambda document: change(document["tcbLevels"][0])


def tcb(**changes: Any) -> Change:
    """A change of what the first level asks for."""
    return level(lambda each: each["tcb"].update(changes))


def flat(document: Fields, *svns: Any) -> None:
    """Make it one of version 2, whose only level asks for the numbers given."""
    document |= {"version": 2, "tcbLevels": document["tcbLevels"][:1]}
    names = [f"sgxtcbcomp0{digit}svn" for digit in "123456789"] + [f"sgxtcbcomp1{digit}svn" for digit in "0123456"]
    document["tcbLevels"][0]["tcb"] = {"pcesvn": 1} | dict(zip(names, svns, strict=False))


def test_the_tdx_module_of_version_0_has_no_levels() -> None:
    own = {"mrsigner": "0a" * 48, "attributes": "0B" * 8, "attributesMask": "fE" * 8}
    found = TdxModule(id="", mrsigner=b"\x0a" * 48, attributes=b"\x0b" * 8, attributes_mask=b"\xfe" * 8)
    assert read(lambda d: d.update(tdxModule=own)).tdx_module == found
    assert read(lambda d: d.update(tdxModule=own | {"tcbLevels": [{}]})).tdx_module == found


def test_tdx_module_identities_are_read_in_upper_case_their_levels_descending() -> None:
    given = module("Tdx_0a", (3, "OutOfDate", ["A", "B"]), (6, "UpToDate", [])) | {
        "mrsigner": "01" * 48,
        "attributes": "02" * 8,
        "attributesMask": "03" * 8,
    }
    (found,) = read(lambda d: d.update(tdxModuleIdentities=[given])).tdx_modules
    assert found.id == "TDX_0A"
    assert (found.mrsigner, found.attributes, found.attributes_mask) == (b"\1" * 48, b"\2" * 8, b"\3" * 8)
    assert [(each.isvsvn, each.status, each.advisories) for each in found.levels] == [
        (6, TcbStatus.UP_TO_DATE, ()),
        (3, TcbStatus.OUT_OF_DATE, ("A", "B")),
    ]


def test_modules_may_be_absent_and_are_only_read_for_trust_domains() -> None:
    bare = read(lambda d: (d.pop("tdxModule"), d.pop("tdxModuleIdentities")))
    assert (bare.tdx_module, bare.tdx_modules) == (None, ())
    enclaves = read(lambda d: d.update(id="SGX"))
    assert (enclaves.id, enclaves.tdx_module, enclaves.tdx_modules) == ("SGX", None, ())
    old = read(lambda d: flat(d, *range(16)))
    assert (old.id, old.tdx_module, old.tdx_modules) == ("SGX", None, ())


@pytest.mark.parametrize("field", ["mrsigner", "attributes", "attributesMask"])
@pytest.mark.parametrize("size", [-1, 1])
def test_a_module_has_fields_of_one_size(field: str, size: int) -> None:
    fit = json.loads(TDX)["tdxModule"][field]
    unfit = fit[:-2] if size < 0 else fit + "00"
    assert code(lambda d: d["tdxModule"].update({field: fit})) == "accepted"
    assert code(lambda d: d["tdxModule"].update({field: unfit})) == "tcb-info-field"
    assert code(lambda d: d["tdxModuleIdentities"][0].update({field: unfit})) == "tcb-info-field"
    assert code(lambda d: d["tdxModuleIdentities"][0].pop(field)) == "tcb-info-field"


@pytest.mark.parametrize(
    ("put", "most"),
    [
        (lambda d, size: d.update(tdxModuleIdentities=[module("TDX_01")] * size), 100),
        (lambda d, size: d["tdxModuleIdentities"][0].update(tcbLevels=[_qe_level()] * size), 1000),
        (lambda d, size: d.update(tcbLevels=[_platform_level()] * size), 1000),
        (lambda d, size: d["tcbLevels"][0].update(advisoryIDs=["A"] * size), 1000),
    ],
    ids=["modules", "levels of a module", "levels", "advisories"],
)
def test_lists_have_limits(put: Callable[[Fields, int], object], most: int) -> None:
    assert code(lambda d: put(d, most)) == "accepted"
    assert code(lambda d: put(d, most + 1)) == "tcb-info-field"


def _qe_level() -> Fields:
    return {"tcb": {"isvsvn": 1}, "tcbStatus": "UpToDate", "tcbDate": "2025-03-03T00:00:00Z"}


def _platform_level() -> Fields:
    return _qe_level() | {"tcb": {"pcesvn": 1, "sgxtcbcomponents": [{"svn": 1}] * 16}}


def test_a_document_has_at_most_1_mib() -> None:
    assert TcbInfo.parse(TDX.ljust(MIB)).levels == TcbInfo.parse(TDX).levels
    assert code_of(lambda: TcbInfo.parse(TDX.ljust(MIB + 1))) == "tcb-info-size"


@pytest.mark.parametrize(
    ("fit", "unfit"),
    [
        (tcb(pcesvn=0xFFFF), tcb(pcesvn=0x10000)),
        (tcb(pcesvn=0), tcb(pcesvn=-1)),
        (lambda d: d.update(tcbEvaluationDataNumber=0xFFFFFFFF), lambda d: d.update(tcbEvaluationDataNumber=1 << 32)),
        (lambda d: d.update(tcbType=0), lambda d: d.update(tcbType=1)),
        (lambda d: d.update(fmspc="00906EA1000f"), lambda d: d.update(fmspc="00906EA1000f00")),
        (lambda d: d.update(pceId="0aF0"), lambda d: d.update(pceId="0a")),
    ],
)
def test_numbers_and_identifiers_end_at_their_borders(fit: Change, unfit: Change) -> None:
    assert (code(fit), code(unfit)) == ("accepted", "tcb-info-field")


@pytest.mark.parametrize("name", ["sgxtcbcomponents", "tdxtcbcomponents"])
@pytest.mark.parametrize("unfit", [256, -1, True, 1.0, "1", None])
def test_sixteen_components_of_one_byte_each(name: str, unfit: Any) -> None:
    svns = [{"svn": svn} for svn in [0, 255, *range(3, 17)]]
    assert code(tcb(**{name: svns})) == "accepted"
    for at in (0, 15):
        assert code(tcb(**{name: [*svns[:at], {"svn": unfit}, *svns[at + 1 :]]})) == "tcb-info-field"
        assert code(tcb(**{name: [*svns[:at], unfit, *svns[at + 1 :]]})) == "tcb-info-field"
    odds: list[Any] = [svns[:15], [*svns, {"svn": 0}], [{}] * 16, [[]] * 16, {}, None]
    for odd in odds:
        assert code(tcb(**{name: odd})) == "tcb-info-field"


def test_only_the_components_of_trust_domains_may_be_absent() -> None:
    bare = read(level(lambda each: each["tcb"].pop("tdxtcbcomponents")))
    assert [each.tdx_components is None for each in bare.levels].count(True) == 1
    assert code(level(lambda each: each["tcb"].pop("sgxtcbcomponents"))) == "tcb-info-field"


def test_version_2_names_each_component() -> None:
    (found,) = read(lambda d: flat(d, *range(240, 256))).levels
    assert (found.components, found.tdx_components) == (tuple(range(240, 256)), None)
    for at in range(16):
        svns = list(range(16))
        svns[at] = 256
        assert code(lambda d, svns=svns: flat(d, *svns)) == "tcb-info-field"  # type: ignore[misc]  # bound at once
    assert code(lambda d: flat(d, *range(15))) == "tcb-info-field"


@pytest.mark.parametrize(
    ("version", "found"),
    [(0, "version"), (1, "version"), (4, "version"), (0xFFFFFFFF, "version"), (1 << 32, "field"), (-1, "field")],
)
def test_there_are_versions_2_and_3(version: int, found: str) -> None:
    assert code(lambda d: d.update(version=3)) == "accepted"
    assert code(lambda d: d.update(version=version)) == f"tcb-info-{found}"


def test_a_level_says_status_date_and_advisories() -> None:
    for status in [*list(TcbStatus)[:6], TcbStatus.REVOKED]:
        (found,) = read(
            _only({"tcbStatus": status, "tcbDate": "2025-08-13T23:59:58Z", "advisoryIDs": ["B", "A"]})
        ).levels
        assert (found.status, found.date) == (status, datetime(2025, 8, 13, 23, 59, 58, tzinfo=UTC))
        assert found.advisories == ("B", "A")
    for status in (TcbStatus.TD_RELAUNCH_ADVISED, TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED):
        assert code(_only({"tcbStatus": status})) == "tcb-info-field"  # the verifier's words, not the document's
    assert read(lambda d: d.update(tcbLevels=[_platform_level()])).levels[0].advisories == ()


def _only(fields: Fields) -> Change:
    return lambda document: document.update(tcbLevels=[document["tcbLevels"][0] | fields])


@pytest.mark.parametrize(
    "date",
    [
        "2026-06-15T00:00:00", "2026-06-15T00:00:00z", "2026-06-15T00:00:00+00:00", "2026-06-15T00:00:00.0Z",
        "2026-06-15 00:00:00Z", "2026-06-15T00:00:00Z\n", "2026-06-15T00:00:60Z", "2026-02-29T00:00:00Z", 0,
    ],
)  # fmt: skip
def test_dates_have_one_form(date: Any) -> None:
    assert read(lambda d: d.update(nextUpdate="2028-02-29T23:59:59Z")).next_update.day == 29
    for name in ("issueDate", "nextUpdate"):
        assert code(lambda d, name=name: d.update({name: date})) == "tcb-info-field"  # type: ignore[misc]
    assert code(level(lambda each: each.update(tcbDate=date))) == "tcb-info-field"


def test_levels_descend_by_components_then_pcesvn_then_those_of_trust_domains() -> None:
    def asked(first: int, pcesvn: int, tdx: int | None) -> Fields:
        own = {"pcesvn": pcesvn, "sgxtcbcomponents": [{"svn": first}, *[{"svn": 9}] * 15]}
        return own if tdx is None else own | {"tdxtcbcomponents": [{"svn": tdx}, *[{"svn": 9}] * 15]}

    ascending = [(1, 8, 7), (2, 5, 6), (2, 6, None), (2, 6, 3), (2, 6, 4)]

    def put(document: Fields) -> None:
        usual = document["tcbLevels"][0]
        document["tcbLevels"] = [usual | {"tcb": asked(*each)} for each in ascending]

    found = [
        (each.components[0], each.pcesvn, each.tdx_components and each.tdx_components[0]) for each in read(put).levels
    ]
    assert found == ascending[::-1]


def test_components_are_described_in_intels_words() -> None:
    sgx = [{"svn": 1, "category": "BIOS", "type": "Early Microcode Update"}, *[{"svn": 1}] * 15]
    tdx = [{"svn": 1, "category": "OS/VMM", "type": 7}, *[{"svn": 1, "category": None}] * 15]
    found = _level(tcb(sgxtcbcomponents=sgx, tdxtcbcomponents=tdx))
    assert found.described() == (Component("BIOS", "Early Microcode Update"), *[Component("", "")] * 15)
    assert found.described(tdx=True) == (Component("OS/VMM", ""), *[Component("", "")] * 15)
    assert _level(level(lambda each: each["tcb"].pop("tdxtcbcomponents"))).described(tdx=True) == ()


def _level(change: Change) -> TcbLevel:
    return read(lambda document: (document.update(tcbLevels=document["tcbLevels"][:1]), change(document))).levels[0]


@pytest.mark.parametrize("listed", [[{"svn": 1, "category": "BIOS"}] * 16, [1], 5])
def test_version_2_describes_nothing_whatever_else_it_holds(listed: Any) -> None:
    def changed(document: Fields) -> None:
        flat(document, *range(16))
        document["tcbLevels"][0]["tcb"] |= {"sgxtcbcomponents": listed, "tdxtcbcomponents": listed}

    (found,) = read(changed).levels
    assert (found.described(), found.described(tdx=True), found.tdx_components) == ((), (), None)
