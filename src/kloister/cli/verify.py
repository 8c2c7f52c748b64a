from __future__ import annotations

import typer

from kloister.cli import verify_options as our
from kloister.cli.console import JsonFlag, guarded
from kloister.cli.endorsement import ChainOption, CrlOption, VekOption
from kloister.cli.options import StateOption
from kloister.cli.sources import (
    CacheOption,
    Choice,
    NumberOption,
    SourceCaOption,
    SourceOption,
    TimeoutOption,
    UpdateOption,
)
from kloister.cli.verify_batch import run_batch
from kloister.cli.verify_inputs import Inputs
from kloister.cli.verify_judge import judge
from kloister.cli.verify_text import Manner, show


@guarded
def verify(
    things: our.ThingsArgument,
    *,
    collateral: our.CollateralOption = None,
    root: our.RootOption = None,
    at: our.AtOption = None,
    policy: our.PolicyOption = None,
    proof_only: our.ProofOption = False,
    offline: our.OfflineOption = False,
    source: SourceOption = None,
    source_ca: SourceCaOption = None,
    cache: CacheOption = None,
    update: UpdateOption = None,
    evaluation_number: NumberOption = None,
    fetch_timeout: TimeoutOption = None,
    bundle_out: our.BundleOption = None,
    vek: VekOption = None,
    chain: ChainOption = None,
    crl: CrlOption = None,
    jwks: our.JwksOption = None,
    issuer: our.IssuerOption = None,
    image: our.ImageOption = None,
    state: StateOption = None,
    explain: our.ExplainOption = False,
    what_if_collateral: our.WhatIfCollateralOption = None,
    what_if_at: our.WhatIfAtOption = None,
    what_if_update: our.WhatIfUpdateOption = None,
    what_if_evaluation: our.WhatIfEvaluationOption = None,
    show_identifiers: our.IdentifiersOption = False,
    batch: our.BatchOption = False,
    jobs: our.JobsOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Say whether evidence is genuine and acceptable."""
    if policy is not None and proof_only:
        raise typer.BadParameter("--policy and --proof-only exclude each other.")
    inputs = Inputs(
        roots=root or (), policy=policy, proof_only=proof_only, at=at, collateral=collateral,
        vek=vek, chain=chain, crl=crl, jwks=jwks, issuer=issuer, image=image, state=state, bundle_out=bundle_out,
        other_collateral=what_if_collateral or (), other_times=what_if_at or (),
        other_updates=what_if_update or (), other_evaluations=what_if_evaluation or (),
    )  # fmt: skip
    choice = Choice(
        sources=source, ca=source_ca, cache=cache, update=update, number=evaluation_number,
        timeout=fetch_timeout, offline=offline,
    )  # fmt: skip
    manner = Manner(as_json=as_json, explain=explain, proof_only=proof_only, show_identifiers=show_identifiers)
    if batch:
        raise typer.Exit(0 if run_batch(things, inputs, choice, manner, jobs) else 1)
    if len(things) > 1:
        raise typer.BadParameter("Several things are judged with --batch.")
    judged = judge(things[0], inputs, choice)
    show(judged.rows, manner, judged.more)
    if not judged.rows[0].appraisal.accepted:
        raise typer.Exit(1)


verify.__doc__ = f"{verify.__doc__}\n{our.EXAMPLES}"
