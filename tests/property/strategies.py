"""Random input that more than one property needs."""

import math
from typing import Any

from hypothesis import strategies as st

MAX_NESTING = 20

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
messages = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=15
)
#: What JSON cannot say.
unsayable = st.sampled_from(
    [object(), {1, 2}, 1j, b"bytes", 2**64, -(2**63) - 1, math.nan, math.inf, "\ud800", {1: 2}, memoryview(b"x")]
)


@st.composite
def planted(draw: st.DrawFn, leaf: Any) -> tuple[Any, tuple[str | int, ...]]:
    """A message with something in it, and the steps to that."""
    message, steps = leaf, ()
    for _ in range(draw(st.integers(0, 4))):
        if draw(st.booleans()):
            name = draw(st.sampled_from(["a", "b", "id"]))
            others = draw(st.dictionaries(st.sampled_from(["c", "d"]), scalars, max_size=2))
            message, steps = {**others, name: message}, (name, *steps)
        else:
            before, after = draw(st.lists(scalars, max_size=2)), draw(st.lists(scalars, max_size=2))
            message, steps = [*before, message, *after], (len(before), *steps)
    return message, steps
