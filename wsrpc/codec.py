"""Objects to message payloads and back: JSON, by orjson.

The only module that knows orjson. Encoding is strict: what JSON cannot say raises `EncodeError` with the path to it,
in the caller's thread, before anything is sent. The reflect ID is not known yet when a query is encoded (it is taken
later, under the connection's lock), so a query is encoded with a mark in its place and cut there: a raw NUL byte, which
no JSON text can hold (RFC 8259, section 7: control characters are escaped).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import orjson

from .errors import DecodeError, EncodeError

_MARK = b"\x00"

#: Stands where the reflect ID will be; `encode_query` cuts the payload there.
REFLECT_ID = orjson.Fragment(_MARK)

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY


def encode(message: Any, *, allow_nan: bool = False) -> bytes:
    """The message as JSON.

    Args:
        message: anything that orjson takes (also numpy arrays and scalars, datetimes, dataclasses, UUIDs), and arrays
            that orjson refuses but that have `tolist`, such as slices of numpy arrays, or those of foreign byte order.
        allow_nan: send NaN and the infinities as null instead of refusing them.

    Raises:
        EncodeError: something in it has no JSON form (`path` says where): integers beyond 64 bits, keys that are not
            `str`, NaN or infinity, unpaired surrogates, objects of other types.
    """
    try:
        body = orjson.dumps(message, default=_default, option=_OPTIONS)
    except TypeError:
        body = _encode_otherwise(message)
    if not allow_nan and b"null" in body:  # orjson writes NaN as null
        _refuse_nan(message)
    return body


def encode_query(message: Any, *, allow_nan: bool = False) -> list[bytes]:
    """The message as JSON, cut where `REFLECT_ID` stands in it: `b"7".join(parts)` is the payload of query 7.

    Raises:
        EncodeError: as `encode`.
    """
    return encode(message, allow_nan=allow_nan).split(_MARK)


def decode(payload: bytes | bytearray | memoryview | str) -> Any:
    """The message that a payload holds.

    Raises:
        DecodeError: it is no JSON.
    """
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        message = bytes(payload) if isinstance(payload, memoryview) else payload
        raise DecodeError(f"not JSON: {error}: {_brief(message)}", message=message) from error


def is_utf8(payload: bytes | bytearray | memoryview | str) -> bool:
    """Whether a text message's payload is what RFC 6455, section 8.1, asks of it."""
    try:
        payload.encode() if isinstance(payload, str) else str(payload, "utf-8")
    except UnicodeError:
        return False
    return True


def _encode_otherwise(message: Any) -> bytes:
    """What orjson refuses: encoded in another way, or refused with the place where it is."""
    try:
        return _dumps(message)
    except TypeError as error:
        path, culprit = _locate(message)
        where = f" at {path}" if path else ""
        raise EncodeError(f"cannot encode {_brief(culprit)}{where} as JSON: {error}", path=path) from error


def _dumps(message: Any) -> bytes:
    try:
        return orjson.dumps(message, default=_default, option=_OPTIONS)
    except TypeError:  # for an array of foreign byte order it does not ask `default`, unless it knows no arrays
        return orjson.dumps(message, default=_piecewise)


def _default(value: Any) -> Any:
    """What orjson does not take itself: arrays that are not contiguous, or not of a type it knows."""
    if not _is_array(value):
        raise TypeError(f"Type is not JSON serializable: {type(value).__name__}")
    contiguous = getattr(getattr(value, "flags", None), "c_contiguous", True)
    native = getattr(getattr(value, "dtype", None), "isnative", True)
    if contiguous and native:
        return value.tolist()
    return value.astype(value.dtype.newbyteorder("="), order="C")  # `tolist` would lose what datetime64[ns] is


def _piecewise(value: Any) -> Any:
    """An array by itself, as it would be encoded among others."""
    try:
        return orjson.Fragment(orjson.dumps(value, default=_default, option=_OPTIONS))
    except TypeError:
        return _default(value)


def _is_array(value: Any) -> bool:
    return hasattr(value, "tolist") and not isinstance(value, memoryview)


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    """The parts of a value, each with its step in a path."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield f".{key}", item
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield f"[{index}]", item
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield f".{field.name}", getattr(value, field.name)


def _locate(value: Any) -> tuple[str, Any]:
    """The path to the innermost part that orjson refuses, and that part."""
    path, seen = "", 0
    while seen < 255:  # orjson's own limit of nesting is 254
        seen += 1
        for step, child in _children(value):
            try:
                _dumps(child)
            except TypeError:
                path, value = path + step, child
                break
        else:
            break
    return path.removeprefix("."), value


def _refuse_nan(value: Any, path: str = "") -> None:
    if _is_array(value):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        where = path.removeprefix(".")
        raise EncodeError(
            f"cannot encode {value} at {where or 'the top'}: JSON has no such number; allow_nan=True sends null",
            path=where,
        )
    for step, child in _children(value):
        _refuse_nan(child, path + step)


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
