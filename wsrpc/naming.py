"""Method names spelled as attributes: `client.api.Page.navigate(url="…")`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Api:
    """Asks methods spelled as calls: `api.add(2, 3)` is `query("add", [2, 3])`.

    Dots make dotted names. Positional arguments become an array, keywords an object, none at all no params.
    Names that begin with an underscore raise `AttributeError` (notebooks probe for such names).
    """

    def __init__(self, query: Callable[..., Any], name: str = "") -> None:
        self._query = query
        self._name = name

    def __getattr__(self, name: str) -> Api:
        if name.startswith("_"):
            raise AttributeError(f"api has no {name!r}: names that begin with _ are not methods; use query()")
        return Api(self._query, f"{self._name}.{name}" if self._name else name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Ask, with the client's timeout; blocks and raises as `Client.query`.

        Raises:
            TypeError: positional and keyword arguments together, which no params can say; or no method was named.
        """
        if not self._name:
            raise TypeError("name a method: client.api.method(…)")
        if args and kwargs:
            raise TypeError(f"{self._name}() takes positional or keyword arguments, not both")
        return self._query(self._name, list(args) if args else kwargs or None)

    def __repr__(self) -> str:
        return f"<Api {self._name}>" if self._name else "<Api>"
