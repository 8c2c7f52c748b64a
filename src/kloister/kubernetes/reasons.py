"""The reason codes of webhook, controller and installation; the node agent has its own tables."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from kloister.errors import Reason

_KUBECTL = "Does `kubectl get nodes` work? --context names another cluster."

REASONS: Mapping[str, Reason] = MappingProxyType(
    {
        # pods
        "quantity": Reason("A resource quantity is no whole number of bytes.", "Write for instance 10Mi or 1Gi."),
        "epc-conflict": Reason(
            "A container asks for different amounts of EPC under two names or as limit and request.",
            "Name one amount, as resources.limits sgx.intel.com/epc.",
        ),
        "pod-shape": Reason("The pod is not what the API server sends.", "Check the manifest."),
        "admission-review": Reason(
            "The webhook was called by something that is no API server.", "Nobody else calls it."
        ),
        # cluster
        "confidential-node": Reason(
            "A ConfidentialNode is not what an agent of this version writes.",
            "Bring agents and controller to one version.",
        ),
        "cluster-unknown": Reason(
            "No cluster is configured.", "Set KUBECONFIG, or run in a pod with a service account."
        ),
        "cluster-unreachable": Reason("The API server does not answer.", "Try again; see `kubectl get --raw /readyz`."),
        "cluster-refused": Reason(
            "The API server refused.", "Check the service account's role: `kloister kube check`."
        ),
        "cluster-conflict": Reason("Another writer changed the object in between.", "It is tried again."),
        "webhook-unregistered": Reason(
            "There is no MutatingWebhookConfiguration of the webhook's name.", "Install it: `kloister kube install`."
        ),
        # kubectl
        "kubectl-missing": Reason(
            "kubectl is not on this machine.", "Install it; Debian's package is kubernetes-client."
        ),
        "kubectl-failed": Reason("kubectl failed.", _KUBECTL),
        "node-unknown": Reason("The cluster has no node of this name.", "See `kloister node list`."),
    }
)
