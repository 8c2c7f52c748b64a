"""Making a plugin known to the kubelet: the service v1beta1.Registration."""

from __future__ import annotations

from pathlib import Path

import grpc
import grpc.aio

from kloister.errors import Denied, Unavailable
from kloister.kubernetes.node.kubelet import device_plugin_pb2 as api
from kloister.kubernetes.node.kubelet.calls import ask, reason

FOLDER, SOCKET = "device-plugins", "kubelet.sock"
VERSION = "v1beta1"
_METHOD = "/v1beta1.Registration/Register"
_PATIENCE = 15.0  # seconds; current kubelets dial the plugin back for 10 s before they answer
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


async def register(kubelet: Path, endpoint: str, resource: str, options: api.DevicePluginOptions) -> None:
    """Register the plugin that already serves `endpoint`, a name beside the kubelet's socket.

    Raises:
        Unavailable: `kubelet-unreachable`: it is not there, or it restarts; try again.
        Denied: `kubelet-refused`: it answered, and does not want the plugin.
    """
    request = api.RegisterRequest(version=VERSION, endpoint=endpoint, resource_name=resource, options=options)
    try:
        await ask(kubelet, _METHOD, request, api.Empty, _PATIENCE)
    except grpc.aio.AioRpcError as error:
        if error.code() in _AWAY:
            raise Unavailable(
                "kubelet-unreachable",
                f"The kubelet does not answer at {kubelet}: {reason(error)}.",
                "It is tried again all the time; if it stays so, see the kubelet's log.",
            ) from None
        raise Denied(
            "kubelet-refused",
            f"The kubelet refuses {resource}: {reason(error)}.",
            "See the kubelet's log; the device plugin API must be v1beta1.",
        ) from None
