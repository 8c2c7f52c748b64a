"""gRPC over the Unix sockets of kubelet and plugins: no stubs but the messages, no names but the methods'."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import grpc.aio
from google.protobuf.message import Message

LARGEST = 64 << 20
"""Bytes of a message that we take: 8,192 blocks are 0.3 MB; gRPC's own limit of 4 MiB is not ours to set."""

Answer = TypeVar("Answer", bound=Message)


def limits() -> list[tuple[str, int]]:
    """Options of a channel or server: what may come in, and no sharing of a socket between two servers."""
    return [("grpc.max_receive_message_length", LARGEST), ("grpc.so_reuseport", 0)]


@asynccontextmanager
async def channel(path: Path) -> AsyncIterator[grpc.aio.Channel]:
    """A connection to the socket at `path`; made anew each time, because gRPC would wait before it tries again."""
    options = [*limits(), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"unix:{path}", options=options) as opened:
        yield opened


async def ask(path: Path, method: str, request: Message, answer: type[Answer], seconds: float) -> Answer:
    """One call, for instance of `/v1beta1.Registration/Register`; `grpc.aio.AioRpcError` where it fails."""
    async with channel(path) as opened:
        call = opened.unary_unary(
            method, request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString
        )
        return await call(request, timeout=seconds)


def reason(error: grpc.aio.AioRpcError) -> str:
    """What a failed call says, in one line: the status and the beginning of its text."""
    return f"{error.code().name.lower()}: {' '.join((error.details() or '').split())[:200]}"
