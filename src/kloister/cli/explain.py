from __future__ import annotations

from typing import Annotated, Any

import typer

from kloister.cli.broker import admin, moment
from kloister.cli.console import JsonFlag, guarded, print_json
from kloister.cli.options import StateOption
from kloister.errors import Denied


@guarded
def explain(
    subject: Annotated[str, typer.Argument(metavar="ID_OR_CODE", help="A refusal's id, or a reason code.")],
    state: StateOption = None,
    *,
    as_json: JsonFlag = False,
) -> None:
    """Explain a refusal by its id (condition, expected, seen, how to allow it), or what a reason code means.

    Examples:  kloister explain measurement-not-allowed;  kloister explain R7K2QX4M
    """
    from kloister.serve.reasons import describe

    reason = describe(subject)
    if reason.text:
        _code(subject, reason.text, reason.allow, as_json=as_json)
        return
    try:
        refusal = admin(state).refusal(subject)
    except Denied as error:
        raise Denied(
            error.code, f"{subject} is neither a reason code nor a refusal that is kept.", error.hint
        ) from None
    if as_json:
        print_json(refusal)
    else:
        _refusal(refusal)


def _code(code: str, text: str, allow: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"code": code, "text": text, "allow": allow})
        return
    print(f"{code}: {text}")
    if allow:
        print(f"  What to do: {allow}")


def _refusal(refusal: dict[str, Any]) -> None:
    asked = f"{refusal['namespace']}/{refusal['policy']}, service {refusal['service']}, instance {refusal['instance']}"
    print(f"Refusal {refusal['id']} at {moment(refusal['at'])}: {refusal['code']}")
    print(f"  asked for  {asked}, from {refusal['peer']}")
    if not refusal["conditions"]:
        print(f"  reason     {refusal['text']}")
        if refusal["hint"]:
            print(f"  allow it   {refusal['hint']}")
    for condition in refusal["conditions"]:
        print(f"  condition  {condition['path']} [{condition['code']}]")
        print(f"    expected   {condition['expected']}")
        print(f"    seen       {condition['seen']}")
        print(f"    allow it   {condition['allow']}")
    if refusal["conditions"] and refusal.get("document"):
        name = f"{refusal['namespace']}/{refusal['policy']}"
        print(f"  to change  kloister policy show {name} > policy.json; edit; kloister policy apply policy.json")
    evidence = refusal.get("evidence")
    if evidence:
        print(f"  evidence   {evidence['tee']}, MRENCLAVE {evidence['mrenclave']}, TCB {evidence['tcbStatus']}")
        if evidence["simulated"]:
            print("             from a simulated platform")
