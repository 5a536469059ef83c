"""The libraries that are compared, one module each.

`ROSTER` names them; a peer's module is imported only when it is measured, so a missing library is a clear message and
not a traceback. A new peer is a module with one subclass of `Peer` here, and a line in the roster.
"""

import importlib
import sys
from dataclasses import dataclass
from importlib.util import find_spec

from .base import Peer

__all__ = ["ROSTER", "SUBJECT", "Entry", "Peer"]


@dataclass(frozen=True)
class Entry:
    """Where a peer is found.

    Attributes:
        name: What the reports call it.
        module: Its module in this package.
        imports: The top-level module that must be importable.
        installs: The package to install for it.
        optional_from: From this version of Python on it is left out where it is not installed; ``None``: on none.
    """

    name: str
    module: str
    imports: str
    installs: str
    optional_from: tuple[int, int] | None = None

    def installed(self) -> bool:
        """Tell whether the library is there; a folder without ``__init__.py`` is not it."""
        spec = find_spec(self.imports)
        return spec is not None and spec.origin is not None

    def optional(self) -> bool:
        """Tell whether a run may do without the library on this Python."""
        return self.optional_from is not None and sys.version_info >= self.optional_from

    def load(self) -> type[Peer]:
        """Import the peer's class."""
        module = importlib.import_module(f"{__name__}.{self.module}")
        peer: type[Peer] = module.PEER
        return peer


SUBJECT = "wsrpc"
"""The peer that all the others are compared with."""

ROSTER = {
    entry.name: entry
    for entry in (
        Entry(SUBJECT, "wsrpc_client", "wsrpc", "wsrpc"),
        # It depends on curio, which ends at Python 3.11. Installed without its dependencies it runs on curio-compat.
        Entry("nwebsocket", "nwebsocket_class", "nwebsocket", "nwebsocket", optional_from=(3, 12)),
        Entry("websocket-client", "websocket_client", "websocket", "websocket-client"),
        Entry("websockets threads", "websockets_threads", "websockets", "websockets"),
    )
}
