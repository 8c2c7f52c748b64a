"""AESM's messages as descriptors for Google's own protobuf: the field numbers of gramine.md 6.5, written down anew."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_BYTES, _BOOL, _U32, _U64 = 12, 8, 13, 4  # FieldDescriptorProto.Type
_MESSAGE, _OPTIONAL, _REQUIRED = 11, 1, 2
_Schema = dict[str, tuple[int, dict[str, tuple[int, int, bool]]]]  # name -> number, field -> number, type, required
_CODE = {"errorCode": (1, _U32, True)}
_TIMEOUT = {"timeout": (9, _U32, False)}

REQUESTS: _Schema = {
    "initQuoteEx": (15, {"att_key_id": (1, _BYTES, False), "b_pub_key_id": (3, _BOOL, True),
                         "buf_size": (4, _U64, False), **_TIMEOUT}),
    "getQuoteSizeEx": (16, {"att_key_id": (1, _BYTES, False), **_TIMEOUT}),
    "getQuoteEx": (17, {"report": (1, _BYTES, True), "att_key_id": (2, _BYTES, False),
                        "qe_report_info": (3, _BYTES, False), "buf_size": (4, _U32, True), **_TIMEOUT}),
    "selectAttKeyID": (19, {"att_key_id_list": (1, _BYTES, False), "timeout": (2, _U32, False)}),
    "getSupportedAttKeyIDNum": (21, _TIMEOUT),
    "getSupportedAttKeyIDs": (22, {"buf_size": (1, _U32, False), **_TIMEOUT}),
}  # fmt: skip
RESPONSES: _Schema = {
    "initQuoteEx": (15, {**_CODE, "target_info": (2, _BYTES, False), "pub_key_id_size": (3, _U64, False),
                         "pub_key_id": (4, _BYTES, False)}),
    "getQuoteSizeEx": (16, {**_CODE, "quote_size": (2, _U32, False)}),
    "getQuoteEx": (17, {**_CODE, "quote": (2, _BYTES, False), "qe_report_info": (3, _BYTES, False)}),
    "selectAttKeyID": (19, {**_CODE, "selected_att_key_id": (2, _BYTES, False)}),
    "unsupportedRequest": (20, _CODE),
    "getSupportedAttKeyIDNum": (21, {**_CODE, "att_key_id_num": (2, _U32, False)}),
    "getSupportedAttKeyIDs": (22, {**_CODE, "att_key_ids": (2, _BYTES, False)}),
}  # fmt: skip


def _message(file: Any, name: str, schema: _Schema) -> None:
    outer = file.message_type.add(name=name)
    for part, (number, fields) in schema.items():
        inner = outer.nested_type.add(name=part[0].upper() + part[1:])
        for field, (at, kind, required) in fields.items():
            inner.field.add(name=field, number=at, type=kind, label=_REQUIRED if required else _OPTIONAL)
        whole = f".aesm.message.{name}.{inner.name}"
        outer.field.add(name=part, number=number, type=_MESSAGE, type_name=whole, label=_OPTIONAL)


def _classes() -> tuple[Any, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="aesm.proto", package="aesm.message", syntax="proto2")
    _message(file, "Request", REQUESTS)
    _message(file, "Response", RESPONSES)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = (pool.FindMessageTypeByName(f"aesm.message.{name}") for name in ("Request", "Response"))
    request, response = (message_factory.GetMessageClass(each) for each in found)
    return request, response


GoogleRequest, GoogleResponse = _classes()
