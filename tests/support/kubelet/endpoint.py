"""One registered plugin, as a kubelet keeps it: a connection, a stream, and what the stream said last."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from kloister.kubernetes.node.kubelet import device_plugin_pb2 as api

SERVICE = "/v1beta1.DevicePlugin/"
_PATIENCE = 10.0  # seconds, a kubelet's own


class Endpoint:
    """Dials a plugin's socket and follows its list of devices until the stream ends.

    Args:
        path: the plugin's socket.
        authority: None as kubelets before 1.26 send it (the path), else the name that is sent.
        ended: called in the stream's thread when it is over.
    """

    def __init__(self, path: Path, authority: str | None, ended: Callable[[], None]) -> None:
        self.path = path
        self.devices: dict[str, api.Device] = {}
        self.messages = 0
        self.seconds = 0.0
        """From the registration to the first list of devices."""
        self._dialled = time.monotonic()
        self.error = ""
        """The status that ended the stream, lower case."""
        name = str(path) if authority is None else authority
        options = [("grpc.default_authority", name), ("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.insecure_channel(f"unix:{path}", options=options)  # receives 4 MiB at most, as the kubelet
        self._ended = ended
        self._stream: Any = None
        self._thread: threading.Thread | None = None

    def ask(self, method: str, request: Any, answer: Any) -> Any:
        call = self._channel.unary_unary(
            SERVICE + method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        return call(request, timeout=_PATIENCE, wait_for_ready=True)

    def follow(self) -> None:
        self._stream = self._channel.unary_stream(
            f"{SERVICE}ListAndWatch",
            request_serializer=api.Empty.SerializeToString,
            response_deserializer=api.ListAndWatchResponse.FromString,
        )(api.Empty())
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._stream is not None:
            self._stream.cancel()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(30)
        self._channel.close()

    def _read(self) -> None:
        try:
            for message in self._stream:
                self.messages += 1
                self.seconds = self.seconds or time.monotonic() - self._dialled
                self.devices = {device.id: device for device in message.devices}  # last: what waiting tests look at
        except grpc.RpcError as error:
            self.error = error.code().name.lower()
        self.devices = {}  # a kubelet takes all of them for unhealthy
        self._ended()
