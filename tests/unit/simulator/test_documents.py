from __future__ import annotations

from datetime import datetime, timedelta, timezone

from kloister.formats.dcap import QeIdentity, TcbInfo, TcbStatus
from kloister.formats.pki import Crl
from kloister.simulator.documents import TcbStage
from tests.support.evidence import NOW, QE, Forge

FORGE = Forge()
DOCUMENTS = FORGE.documents()


def test_documents_of_one_day_are_equal() -> None:
    morning = NOW.replace(hour=0, minute=1).astimezone(timezone(timedelta(hours=-9)))
    assert FORGE.documents(now=morning) == DOCUMENTS
    assert FORGE.documents(now=NOW + timedelta(days=1)) != DOCUMENTS


def test_documents_are_valid_from_their_day_for_thirty_days() -> None:
    day: datetime = NOW.replace(hour=0)
    info, identity = TcbInfo.parse(DOCUMENTS["tcb_info"]), QeIdentity.parse(DOCUMENTS["qe_identity"])
    lists = [Crl.parse(DOCUMENTS[name].encode()) for name in ("pck_crl", "root_ca_crl")]
    starts = {info.issue_date, identity.issue_date} | {each.this_update for each in lists}
    ends = {info.next_update, identity.next_update} | {each.next_update for each in lists}
    assert (starts, ends) == ({day}, {day + timedelta(days=30)})


def test_the_qe_identity_is_that_of_the_qe() -> None:
    identity = QeIdentity.parse(DOCUMENTS["qe_identity"])
    assert (identity.id, identity.mrsigner, identity.isvprodid) == ("QE", QE.mrsigner, QE.isvprodid)
    assert identity.attributes.hex() == "11" + "00" * 15  # MODE64BIT and XFRM are masked out, as Intel does
    assert [level.isvsvn for level in identity.levels] == [QE.isvsvn]


def test_an_up_to_date_platform_has_no_newer_level() -> None:
    levels = TcbInfo.parse(DOCUMENTS["tcb_info"]).levels
    assert [level.status for level in levels] == [TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE]
    assert levels[0].components == FORGE.pki.tcb.components


def test_a_staged_recovery_has_a_newer_level_above_the_platforms_own() -> None:
    stage = TcbStage(status=TcbStatus.OUT_OF_DATE, advisories=("INTEL-SA-00001",), evaluation_number=21)
    info = TcbInfo.parse(FORGE.documents(stage)["tcb_info"])
    assert [level.status for level in info.levels] == [
        TcbStatus.UP_TO_DATE,
        TcbStatus.OUT_OF_DATE,
        TcbStatus.OUT_OF_DATE,
    ]
    assert info.levels[0].components > FORGE.pki.tcb.components == info.levels[1].components
    newer, own = info.levels[0], info.levels[1]
    raised = [new > old for new, old in zip(newer.components, own.components, strict=True)]
    assert raised == [bool(one.category) for one in newer.described()]  # what nobody describes, nobody updates
    assert 0 < sum(raised) < len(raised)
    assert own.advisories == ("INTEL-SA-00001",)
    assert info.evaluation_number == 21
