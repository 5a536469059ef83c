"""What messages mean on an endpoint: one file a dialect, all on the base in `base`."""

from __future__ import annotations

from .base import (
    ID,
    METHOD,
    PARAMS,
    REFLECT_ID,
    Answer,
    Batch,
    Dialect,
    Failure,
    Incoming,
    Invalid,
    Params,
    Push,
    ReflectID,
    Request,
)
from .jsonrpc import JSONRPC
from .reflect import Reflect

__all__ = [
    "ID",
    "JSONRPC",
    "METHOD",
    "PARAMS",
    "REFLECT_ID",
    "Answer",
    "Batch",
    "Dialect",
    "Failure",
    "Incoming",
    "Invalid",
    "Params",
    "Push",
    "Reflect",
    "ReflectID",
    "Request",
]
