"""What accompanies evidence, as people give it: collateral, roots, a time."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from kloister.errors import Malformed
from kloister.formats.pki import parse_chain
from kloister.formats.snp import parse_certificates
from kloister.formats.wire import load_json
from kloister.services import yaml
from kloister.trust.policy.appraisal import MAX_SIZE as MAX_POLICY
from kloister.trust.policy.appraisal import AppraisalPolicy, parse_appraisal, read_appraisal
from kloister.trust.verifier import AmdRoot, Collateral, Root

MAX_COLLATERAL = 16 * 1024 * 1024  # bytes; the largest seen has 150 KiB
_PEM = b"-----BEGIN"
_SECONDS = re.compile(r"\d{1,12}", re.ASCII)


def parse_collateral(data: bytes) -> Collateral:
    """The JSON document of `vectors/evidence/*/collateral.json`. Raises `Malformed`: `collateral-*`."""
    return Collateral.from_json(load_json(data, "collateral", MAX_COLLATERAL))


def parse_root(data: bytes) -> Root:
    """A root from its certificate, DER or PEM. Raises `Malformed` or `Unverified`."""
    if not data.lstrip().startswith(_PEM):
        return Root.from_der(data)
    chain = parse_chain(data, "root")
    if len(chain) != 1:
        raise Malformed("root-pem", f"The file holds {len(chain)} certificates; a root is one.")
    return Root.from_der(chain[0].der)


def parse_policy(data: bytes) -> AppraisalPolicy:
    """An appraisal policy in JSON or strict YAML 1.2. Raises `Malformed`: `appraisal-policy-*`, `yaml-*`."""
    if len(data) > MAX_POLICY or not data.strip() or data.lstrip()[:1] in (b"{", b"["):
        return parse_appraisal(data)
    return read_appraisal(yaml.load(data, "the appraisal policy"))


def parse_any_root(data: bytes) -> Root | AmdRoot:
    """A root of Intel's kind (P-256) or of AMD's (RSA), DER or PEM. Raises `Malformed` or `Unverified`."""
    try:
        return parse_root(data)
    except Malformed as error:
        if error.code != "certificate-algorithm":
            raise
    certificates = parse_certificates(data, "root")
    if len(certificates) != 1:
        raise Malformed("root-pem", f"The file holds {len(certificates)} certificates; a root is one.")
    return AmdRoot.from_der(certificates[0].raw)


def parse_time(text: str) -> datetime:
    """An instant given as unix seconds or ISO 8601; without a zone, UTC is meant. Raises `Malformed`: `time-syntax`."""
    try:
        if _SECONDS.fullmatch(text):
            return datetime.fromtimestamp(int(text), UTC)
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Malformed(
            "time-syntax", f"{text!r} is no time.", "Give unix seconds or ISO 8601, for instance 2026-01-15T00:00:00Z."
        ) from None
