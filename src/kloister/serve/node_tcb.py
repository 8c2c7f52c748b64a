"""How the agent learns its platform's TCB status: the node's own quotes, the collateral there is, the verifier."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from kloister import clock
from kloister.errors import Unverified
from kloister.formats.dcap.status import TcbStatus
from kloister.formats.protocol.platform import Plain
from kloister.formats.protocol.typed import mapping, octets
from kloister.kubernetes.node.tcb import Judge, Standing
from kloister.tee.simulated import asking
from kloister.trust.evidence import TcbRevoked, VerifiedSgx
from kloister.trust.verifier import INTEL_ROOT, Collateral, Root, VerifierCache, verify_sgx

_CONFIGURED = "KLOISTER_COLLATERAL_SOURCES"  # see services/collateral/settings.py
_WHAT = "platform"
_PARTS = 64  # members of a collateral document, at most


def simulated_judge(control: Path) -> Judge:
    """With the simulated platform's own collateral and root, asked for at each judgement."""
    cache = VerifierCache()

    async def judge(quote: bytes) -> Standing:
        document = mapping(await asking.ask(control, Plain("collateral").build()), "collateral", _WHAT, _PARTS)
        root = Root.from_der(octets(await asking.ask(control, Plain("root").build()), "root", _WHAT))
        return judged(quote, Collateral.from_json(document), [root], cache)

    return judge


def configured_judge(
    environment: Mapping[str, str], cache: Path, roots: Sequence[Root] = (INTEL_ROOT,)
) -> Judge | None:
    """With what the configured PCS or PCCS sends; None where none is configured: nobody is asked without being named.

    Args:
        environment: `KLOISTER_COLLATERAL_*`.
        cache: a folder of the agent's for what was fetched.
        roots: who may vouch.

    Raises:
        Misconfigured: `source-*`, `collateral-*`: of the settings.
    """
    if not environment.get(_CONFIGURED):
        return None
    from kloister.serve.collateral import open_source  # noqa: PLC0415 -- of use to few nodes, and takes 3 MB
    from kloister.services.collateral import wanted_by  # noqa: PLC0415 -- likewise
    from kloister.services.collateral.settings import Settings  # noqa: PLC0415 -- likewise

    settings = Settings.of(environment, cache=cache)
    source, seen = open_source(settings, roots), VerifierCache()

    async def judge(quote: bytes) -> Standing:
        provided = await asyncio.to_thread(source.collateral, wanted_by(quote, settings.update))
        return judged(quote, provided.collateral, roots, seen)

    return judge


def judged(quote: bytes, collateral: Collateral, roots: Sequence[Root], cache: VerifierCache) -> Standing:
    """What the verifier says of a quote of this platform. Raises `Unverified`, `Malformed`: why it says nothing."""
    try:
        verified = verify_sgx(quote, collateral, roots, clock.now(), cache)
    except TcbRevoked as error:
        return Standing(str(TcbStatus.REVOKED), issued=error.basis.issued if error.basis else None)
    return _of(verified)


def _of(verified: VerifiedSgx) -> Standing:
    if verified.tcb is None or verified.basis is None:
        raise Unverified("tcb-missing", "The evidence has no TCB status.", "Only Intel publishes one.")
    return Standing(str(verified.tcb.status), issued=verified.basis.issued, expires=verified.collateral_expires)
