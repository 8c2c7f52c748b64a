"""Commands for redis whose answers depend on nothing but the commands before them, and how to read the answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from random import Random
from types import TracebackType
from typing import Any, Self

Command = tuple[str, ...]

_TYPES = ("string", "hash", "list", "set", "zset")
_FIELDS = ("a", "b", "c", "caf\u00e9", "")
_VALUES = ("0", "1", "-7", "41", "3.5", "text", "", "two words", "\r\n", "\u20ac" * 3, "x" * 5000)
_SCORES = ("0", "1", "2.5", "-3", "1e3", "inf", "nan", "word")
_CHOICES = {"F": _FIELDS, "V": _VALUES, "S": _SCORES}
_FAR = "4102444800"  # 2100-01-01: an absolute time, so that no answer depends on when it is asked
_UNORDERED = {"SMEMBERS", "SUNION", "SINTER", "SDIFF", "HKEYS", "HVALS", "KEYS"}
_SCRIPTS = (
    "return redis.call('INCRBY', KEYS[1], ARGV[1])",
    "local t = {} for i = 1, 5 do t[i] = i * tonumber(ARGV[1]) end return t",
    "redis.call('RPUSH', KEYS[1], ARGV[1], ARGV[1]) return redis.call('LLEN', KEYS[1])",
    "return redis.pcall('HSET', KEYS[1], 'a', ARGV[1])",
    "return redis.sha1hex(ARGV[1])",
    "return {1, 'two', false, {3, cjson.encode({four = ARGV[1]})}}",
    "return redis.error_reply('MINE ' .. ARGV[1])",
    "return struct.pack('>I2', 258)",
    "this is no Lua",
)

# command words: K is a key of the command's type, F a field, V a value, N a small number, S a score
_PATTERNS: dict[str, tuple[str, ...]] = {
    "string": (
        "SET K V", "SET K V NX", "SET K V XX GET", "GET K", "APPEND K V", "STRLEN K", "INCR K", "INCRBY K N", "DECR K",
        "INCRBYFLOAT K S", "GETRANGE K 0 N", "SETRANGE K N V", "GETSET K V", "SETBIT K N 1", "BITCOUNT K", "GETDEL K",
        "MSET K V K V", "MGET K K K", "PFADD K V V", "PFCOUNT K",
    ),
    "hash": (
        "HSET K F V F V", "HGET K F", "HGETALL K", "HDEL K F", "HINCRBY K F N", "HINCRBYFLOAT K F S", "HEXISTS K F",
        "HKEYS K", "HVALS K", "HLEN K", "HMGET K F F", "HSETNX K F V", "HSTRLEN K F",
    ),
    "list": (
        "RPUSH K V V", "LPUSH K V", "LPOP K", "RPOP K N", "LRANGE K 0 -1", "LLEN K", "LINDEX K N",
        "LINSERT K BEFORE V V", "LREM K 0 V", "LSET K N V", "LTRIM K 0 N", "LPOS K V", "LMOVE K K LEFT RIGHT",
        "LPUSHX K V",
    ),
    "set": (
        "SADD K V V", "SREM K V", "SMEMBERS K", "SCARD K", "SISMEMBER K V", "SMISMEMBER K V V", "SUNION K K",
        "SINTER K K", "SDIFF K K", "SMOVE K K V", "SINTERCARD 2 K K", "SUNIONSTORE K K K",
    ),
    "zset": (
        "ZADD K S V S V", "ZADD K GT CH S V", "ZINCRBY K S V", "ZSCORE K V", "ZRANK K V", "ZREVRANK K V WITHSCORE",
        "ZRANGE K 0 -1 WITHSCORES", "ZRANGEBYSCORE K -inf S", "ZREM K V", "ZCARD K", "ZCOUNT K 0 S", "ZPOPMIN K",
        "ZREVRANGE K 0 N", "ZUNIONSTORE K 2 K K", "ZREMRANGEBYRANK K 0 0", "ZMSCORE K V V",
    ),
}  # fmt: skip
_GENERIC = (
    "TYPE K", "EXISTS K K", "DEL K", "RENAME K K", "COPY K K REPLACE", "EXPIREAT K T", "EXPIRETIME K", "PERSIST K",
    "PEXPIRETIME K", "OBJECT ENCODING K", "UNLINK K", "SORT K ALPHA", "ECHO V", "TOUCH K K", "DBSIZE",
    "KEYS *", "TYPE K", "NOSUCHCOMMAND K", "GET", "SET K V KEEPTTL BAD", "EXPIRE K never", "SELECT 99", "RESTORE K 0 V",
)  # fmt: skip


def commands(seed: int, count: int) -> Iterator[Command]:
    """`count` commands; the same for the same seed."""
    random = Random(seed)
    made = 0
    while made < count:
        for command in _some(random):
            yield command
            made += 1
            if made == count:
                break


def _some(random: Random) -> list[Command]:
    """One command, or a transaction of several."""
    if random.random() < 0.05:
        inside = [_one(random) for _ in range(random.randrange(1, 5))]
        watched: list[Command] = [("WATCH", _key(random, "string"))] if random.random() < 0.3 else []
        return [*watched, ("MULTI",), *inside, (random.choice(("EXEC", "EXEC", "EXEC", "DISCARD")),)]
    return [_one(random)]


def _one(random: Random) -> Command:
    kind = random.choice(_TYPES)
    chance = random.random()
    if chance < 0.08:
        script = random.choice(_SCRIPTS)
        return ("EVAL", script, "1", _key(random, kind), random.choice(("1", "23", "word")))
    pattern = random.choice(_GENERIC if chance < 0.25 else _PATTERNS[kind])
    return tuple(_word(random, word, kind) for word in pattern.split(" "))


def _word(random: Random, word: str, kind: str) -> str:
    if word == "K":
        return _key(random, kind if random.random() < 0.93 else random.choice(_TYPES))  # else mostly WRONGTYPE
    if word == "N":
        return str(random.randrange(-2, 20))
    if word == "T":
        return _FAR
    return random.choice(_CHOICES.get(word, (word,)))


def _key(random: Random, kind: str) -> str:
    return f"{kind}:{random.randrange(3)}"


class Failure(str):
    """An error that redis answered."""

    __slots__ = ()


class Redis:
    """A connection that speaks RESP2 (redis.io, Redis serialization protocol)."""

    def __init__(self, port: int, password: str) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), 60)
        self._file = self._sock.makefile("rb")
        try:
            self.ask(("AUTH", password))
        except OSError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def close(self) -> None:
        """End the connection."""
        self._file.close()
        self._sock.close()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, *asked: Command) -> list[Any]:
        """The answers to a pipeline of commands."""
        self._sock.sendall(b"".join(_encode(command) for command in asked))
        return [_ordered(command, self._answer()) for command in asked]

    def _answer(self) -> Any:
        line = self._file.readline()
        kind, rest = line[:1], line[1:].removesuffix(b"\r\n")
        if not line.endswith(b"\r\n"):
            raise ConnectionError("redis closed the connection")
        if kind == b"-":
            return Failure(rest.decode())
        if kind == b"$":
            return None if rest == b"-1" else self._file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self._answer() for _ in range(int(rest))]
        return int(rest) if kind == b":" else rest


def _encode(command: Command) -> bytes:
    words = [word.encode() for word in command]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def _ordered(command: Command, answer: Any) -> Any:
    if not isinstance(answer, list):
        return answer
    if command[0] in _UNORDERED:
        return sorted(answer)
    if command[0] == "HGETALL":
        return sorted(zip(answer[::2], answer[1::2], strict=True))
    if command[0] == "EXEC":  # what is in it has no order that can be known from here
        return [
            sorted(item) if isinstance(item, list) and all(isinstance(x, bytes) for x in item) else item
            for item in answer
        ]
    return answer
