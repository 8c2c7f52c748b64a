"""One thing judged by what was named: the sources asked, the questions put, the bundle written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import typer

from kloister.cli.cases import Case
from kloister.cli.endorsement import read_endorsement
from kloister.cli.sources import Choice, snp_report
from kloister.cli.verify_inputs import SERVER, Inputs, evidence_of, read_collateral
from kloister.errors import KloisterError, Malformed
from kloister.services.appraisal import TokenKeys
from kloister.services.appraisal.image import of_image
from kloister.services.appraisal.recognise import Vouched, identify, unwrap, vouched_by
from kloister.services.appraisal.service import unreadable
from kloister.services.appraisal.whatif import GIVEN, Other, Question, Row, of_server, what_if


@dataclass(frozen=True, slots=True)
class Judged:
    """The rows, the first of which is the answer, and what joins its JSON object."""

    rows: tuple[Row, ...]
    more: Mapping[str, Any] = field(default_factory=dict)


def judge(thing: str, inputs: Inputs, choice: Choice) -> Judged:
    """Judge one thing; what vouches for it is what was named, else a bundle's own, else held or fetched.

    Raises:
        KloisterError: what is named cannot be read or fetched; a refusal of the evidence is in the rows.
    """
    case = Case.of(evidence_of(thing), policy=inputs.policy_text(), proof_only=inputs.proof_only, at=inputs.at)
    judged = _BY_VOUCHING[_vouched(case.evidence)](case, inputs, choice)
    if inputs.image is not None:
        judged = _compared(judged, inputs.image, inputs.state)
    return replace(judged, rows=of_server(judged.rows)) if thing.startswith(SERVER) else judged


def _vouched(evidence: bytes) -> Vouched:
    try:
        return vouched_by(*identify(evidence))
    except Malformed:
        return Vouched.COLLATERAL  # the verification says what is wrong


def _by_collateral(case: Case, inputs: Inputs, choice: Choice) -> Judged:
    roots = inputs.intel_roots()
    more: dict[str, Any] = {}
    documents = read_collateral(inputs.collateral) if inputs.collateral else case.collateral
    if documents is None:
        try:
            choice.wanted(case.evidence)
        except Malformed as reason:
            return _unreadable(case, reason)
        provided = choice.fetch(case.evidence, roots)
        documents, more = provided.collateral, {"collateral": provided.as_json()}

    def others() -> Iterator[tuple[str, Other]]:
        for path in inputs.other_collateral:
            yield str(path), read_collateral(path)
        updates = [(str(each), replace(choice, update=each, number=None)) for each in inputs.other_updates]
        numbers = [(f"evaluation {each}", replace(choice, number=each)) for each in inputs.other_evaluations]
        for name, asked in (*updates, *numbers):
            try:
                yield name, asked.fetch(case.evidence, roots).collateral
            except KloisterError as error:
                yield name, error

    question = Question(case.evidence, roots, case.parsed_policy(inputs.policy))
    rows = what_if(question, documents, case.at, tuple(others()), inputs.other_times)
    case.write(inputs.bundle_out, documents)
    return Judged(rows, more)


def _by_endorsement(case: Case, inputs: Inputs, choice: Choice) -> Judged:
    if inputs.other_collateral or inputs.other_updates or inputs.other_evaluations:
        raise typer.BadParameter("AMD publishes no baselines: of an SNP report only --what-if-at can be asked.")
    roots = inputs.amd_roots()
    more: dict[str, Any] = {}
    named = read_endorsement(inputs.vek, inputs.chain, inputs.crl)
    inside = unwrap(*identify(case.evidence))
    given = named.endorsement or (None if named.vek else case.endorsement or inside.endorsement)
    if given is None:
        try:
            snp_report(case.evidence)
        except Malformed as reason:
            return _unreadable(case, reason)
    if given is None and roots:
        fetched = choice.fetch_endorsement(case.evidence, roots, named.vek or inside.vek)
        given, more = fetched.endorsement, {"collateral": fetched.as_json()}
    question = Question(case.evidence, roots, case.parsed_policy(inputs.policy), endorsement=given)
    rows = what_if(question, None, case.at, (), inputs.other_times)
    case.write(inputs.bundle_out, given)
    return Judged(rows, more)


def _unreadable(case: Case, reason: Malformed) -> Judged:
    """Nothing can be fetched for it, and nothing needs to be."""
    return Judged((Row(GIVEN, case.at, None, unreadable(case.evidence, reason)),))


def _by_keys(case: Case, inputs: Inputs, choice: Choice) -> Judged:
    if inputs.other_collateral or inputs.other_updates or inputs.other_evaluations:
        raise typer.BadParameter("A token is judged without collateral: of one only --what-if-at can be asked.")
    keys = inputs.keys() or case.keys
    if keys is None and inputs.issuer is not None:
        keys = choice.fetch_keys(inputs.issuer, case.evidence)
    given = None if keys is None else TokenKeys(keys, inputs.issuer)
    question = Question(case.evidence, (), case.parsed_policy(inputs.policy), token_keys=given)
    rows = what_if(question, None, case.at, (), inputs.other_times)
    case.write(inputs.bundle_out, keys)
    return Judged(rows)


_BY_VOUCHING = {
    Vouched.COLLATERAL: _by_collateral,
    Vouched.ENDORSEMENT: _by_endorsement,
    Vouched.KEYS: _by_keys,
}


def _compared(judged: Judged, name: str, state: Path | None) -> Judged:
    from kloister.serve.measuring import measured

    image = measured(name, state)
    rows = tuple(replace(row, appraisal=of_image(row.appraisal, image.mrenclave, name)) for row in judged.rows)
    return Judged(rows, {**judged.more, "image": image.as_json()})
