from __future__ import annotations

import typer

from kloister.cli.console import JsonFlag, guarded, print_json, say


@guarded
def doctor(*, as_json: JsonFlag = False) -> None:
    """Say what of this machine is missing, and how to mend it. Exit code 1 if something required is.

    Examples:  kloister doctor;  kloister doctor --json
    """
    from kloister.serve.doctor import examine, is_fit

    findings = examine()
    fit = is_fit(findings)
    if as_json:
        print_json({"fit": fit, "findings": [finding.as_json() for finding in findings]})
    else:
        for finding in findings:
            print(f"{finding.level.value:<5} {finding.name:<16} {finding.text}")
            if finding.remedy:
                print(f"{'':22} -> {finding.remedy}")
        say("This machine can run Kloister." if fit else "Something that is required is missing.")
    if not fit:
        raise typer.Exit(1)
