"""How hard hypothesis tries.

`PROPERTY_EXAMPLES` sets how many examples a property gets: few by default, since every run makes up new ones. Where
`CI` is set they are the same each time, so that what fails there tells of the change.
"""

import os

from hypothesis import settings

from ..unit.conftest import _nothing_left_behind  # noqa: F401  a fixture is used by its name
from .outcome import examples

settings.register_profile("here", deadline=None, max_examples=examples())
settings.register_profile("every-push", deadline=None, max_examples=examples(), derandomize=True, database=None)
settings.load_profile("every-push" if os.environ.get("CI") else "here")
