"""`kubectl`, as the operator has it configured."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from typing import Any

from kloister.errors import Misconfigured, Unavailable

Json = dict[str, Any]
_SECONDS = 60.0  # for one question; waiting for a roll-out has its own
_MINOR = re.compile(r"\d+")


class Kubectl:
    """The program, and whose cluster.

    Args:
        context: name in the kubeconfig; empty: the present one.
    """

    def __init__(self, context: str = "") -> None:
        self._base = ["kubectl", *([f"--context={context}"] if context else [])]

    def minor(self) -> int:
        """The server's version is 1.`minor`. Raises as `run` does."""
        version = json.loads(self.run(["version", "--output=json"]))
        found = _MINOR.match(str((version.get("serverVersion") or {}).get("minor", "")))
        if found is None:
            raise Unavailable("kubectl-failed", "The API server does not tell its version.", "Is it a Kubernetes?")
        return int(found[0])

    def items(self, kind: str, *options: str) -> list[Json]:
        """The objects of a kind; none where the server does not know the kind."""
        try:
            found = json.loads(self.run(["get", kind, "--output=json", *options]))
        except Unavailable as error:
            if "the server doesn't have a resource type" in error.text:
                return []
            raise
        items: list[Json] = found["items"]
        return items

    def apply(self, objects: Sequence[Json]) -> list[str]:
        """Create or change objects; what was done with each, a line of `kubectl`."""
        document = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        return self.run(["apply", "--filename=-"], document, timeout=3 * _SECONDS).splitlines()

    def delete(self, objects: Sequence[Json], *, pods_first: bool = False) -> list[str]:
        """Delete objects; those that are gone already do not matter. `pods_first`: not before their pods."""
        document = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        cascade = ["--cascade=foreground"] if pods_first else []
        options = ["delete", "--ignore-not-found", "--wait=true", *cascade, "--filename=-"]
        return self.run(options, document, timeout=3 * _SECONDS).splitlines()

    def rolled_out(self, kind: str, name: str, namespace: str, seconds: int) -> None:
        """Wait until all pods of a workload are ready."""
        command = ["rollout", "status", f"{kind}/{name}", f"--namespace={namespace}", f"--timeout={seconds}s"]
        self.run(command, timeout=seconds + _SECONDS)

    def allowed(self, verb: str, resource: str) -> bool:
        """Whether the operator may do something in the whole cluster."""
        run = self._run(["auth", "can-i", verb, resource, "--all-namespaces"], "", _SECONDS)
        return run.returncode == 0 and run.stdout.strip().startswith("yes")

    def run(self, arguments: Sequence[str], given: str = "", timeout: float = _SECONDS) -> str:
        """Its output.

        Raises:
            Misconfigured: `kubectl-missing`. Unavailable: `kubectl-failed`, with its first line.
        """
        run = self._run(arguments, given, timeout)
        if run.returncode != 0:
            lines = run.stderr.strip().splitlines() or ["it said nothing"]
            raise Unavailable(
                "kubectl-failed",
                f"kubectl {arguments[0]} failed: {lines[-1][:500]}.",
                "Does `kubectl get nodes` work? --context names another cluster.",
            )
        return run.stdout

    def _run(self, arguments: Sequence[str], given: str, timeout: float) -> subprocess.CompletedProcess[str]:
        command = [*self._base, *arguments]
        try:
            return subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=timeout)
        except FileNotFoundError:
            raise Misconfigured(
                "kubectl-missing",
                "kubectl is not on this machine.",
                "Install it; Debian's package is kubernetes-client.",
            ) from None
        except subprocess.TimeoutExpired:
            text = f"kubectl {arguments[0]} did not end within {timeout:.0f} s."
            raise Unavailable("kubectl-failed", text, "Is the API server reachable?") from None
