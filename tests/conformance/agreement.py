"""Our verdicts and dcap-qvl's over all sets of quotes; `python -m tests.conformance.agreement` writes the page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kloister.errors import KloisterError
from kloister.trust.evidence import TcbRevoked
from tests.support.evidence import Case, case, index
from tests.support.paths import ROOT, vectors

PAGE: Path = ROOT / "docs" / "reference" / "agreement.md"

# Why dcap-qvl says something else: what it says (or the set's name), and the reason
EXPLANATIONS = {
    "missing field `sgxtcbcomponents`": "dcap-qvl reads TCB info of version 3 only; version 2 (PCS API v3) is still "
    "served, and signed.",
    "Debug mode is enabled": "dcap-qvl calls debug enclaves and domains not genuine. Here, as in Intel's library, "
    "debug is a claim, and the default policy refuses it (`debug-not-allowed`).",
    "SEPT_VE_DISABLE is not enabled": "dcap-qvl demands SEPT_VE_DISABLE. Here it is a claim, for a policy to judge.",
    "Invalid MR service TD": "dcap-qvl refuses domains with a service domain. Here MRSERVICETD is a claim.",
    "Unsupported DCAP PCK cert format": "dcap-qvl takes the PCK certificates of certification data 1 to 3 from a field "
    "of its own; here they are the collateral's `pck_certificate_chain`.",
    "Invalid QE auth data length": "dcap-qvl accepts QE authentication data of 32 bytes only; any length is legal.",
    "SGX TEE quote must have version 3": "dcap-qvl reads SGX bodies in quotes of version 3 only.",
    "TCB status is invalid: Revoked": "Both refuse; here the refusal says the status and its advisories as well.",
    "neg-tcbinfo-pceid": "dcap-qvl does not compare the TCB info's pceId with the PCK certificate's.",
    "neg-tcbinfo-signed-by-pck": "dcap-qvl does not look at the role of the certificate that signed the TCB info.",
    "neg-v4-outer-type5": "dcap-qvl does not look at the type of the outer certification data.",
}


BEYOND = """
## What no set holds

The quote of an Azure VM's TPM, with the runtime data that the hardware's evidence binds, and SNP reports in JSON are
tested with generators of our own. What real guests sent, and open-source projects publish beside their tests, was
judged once, by hand, on 2026-11-22:

- Azure's VMs, SNP of versions 1 and 2, TDX of version 1: genuine, runtime data, TPM signature and registers included.
  The report of the first and the quote of the last are sets here (`snp/v3-SEV-Milan-2cf09fff`,
  `auto/tdx-v4-00806f050000-a187b0da-e17-t3`).
- SNP reports in JSON, of versions 2 and 3: put together as their guests' library writes them. The certificates of
  their keys were not published, so that their signatures were not judged.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One set: the index's verdict, ours with its reason code, dcap-qvl's with its words, both advisories."""

    name: str
    expected: str
    ours: str
    code: str
    theirs: str
    words: str
    same_advisories: bool

    @property
    def explanation(self) -> str | None:
        """Why the verdicts differ; empty where they agree, None where nobody knows."""
        if self.ours == self.theirs:
            return ""
        keys = (self.name.rpartition("/")[2], self.words)
        return next((text for key, text in EXPLANATIONS.items() if key == keys[0] or key in keys[1]), None)


def rows(other: Any) -> list[Row]:
    """Every set, judged by both."""
    return [_row(other, case(entry)) for entry in index()]


def _row(other: Any, one: Case) -> Row:
    theirs, words, listed = _theirs(other, one)
    code, advisories = "", None
    try:
        verified = one.verify()
        ours, advisories = str(verified.tcb_status), list(verified.advisories)
    except TcbRevoked as refusal:
        ours, code = "Revoked", refusal.code
    except KloisterError as refusal:
        ours, code = "reject", refusal.code
    same = None in (advisories, listed) or advisories == listed
    return Row(one.name, one.entry["verdict"], ours, code, theirs, words, same)


def _theirs(other: Any, one: Case) -> tuple[str, str, list[str] | None]:
    document = {key: value for key, value in one.document.items() if key != "pck_certificate_chain"}
    own_root, now = vectors("evidence", one.name, "root.der"), int(one.at.timestamp())
    try:
        collateral = other.QuoteCollateralV3.from_json(json.dumps(document))
        if own_root.exists():
            report = other.verify_with_root_ca(one.quote, collateral, own_root.read_bytes(), now)
        else:
            report = other.verify(one.quote, collateral, now)
    except ValueError as refusal:
        return "reject", str(refusal), None
    return str(report.status), "", sorted(set(report.advisory_ids))


def page(found: list[Row], release: str) -> str:
    """The page of the reference."""
    differing = [row for row in found if row.explanation != ""]
    used = [text for text in EXPLANATIONS.values() if any(row.explanation == text for row in differing)]
    lines = [
        "# Agreement with dcap-qvl",
        "",
        f"The {len(found)} sets of quotes in the shared test vectors, SGX and TDX, genuine and not, judged by",
        f"`kloister.trust.verifier` and by dcap-qvl {release}. Ours gives the expected verdict for every set,",
        f"advisories included. dcap-qvl gives the same verdict for {len(found) - len(differing)}, and the same",
        "advisories wherever both accept.",
        "",
        "Written by `python -m tests.conformance.agreement`; a test compares it with what both say.",
        "",
        "Why the others differ:",
        "",
        *(f"{number}. {text}" for number, text in enumerate(used, 1)),
        "",
        "| set | expected | Kloister | dcap-qvl | why |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    for row in differing:
        code = f" (`{row.code}`)" if row.code else ""
        why = used.index(row.explanation) + 1 if row.explanation else "unexplained"
        lines.append(f"| `{row.name}` | {row.expected} | {row.ours}{code} | {row.theirs} | {why} |")
    return "\n".join(lines) + "\n" + BEYOND


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(rows(import_module("dcap_qvl")), installed_version()))


def installed_version() -> str:
    """Of dcap-qvl."""
    return version("dcap-qvl")


if __name__ == "__main__":
    main()
