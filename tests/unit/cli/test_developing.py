"""One plugin in a host of its own; ``integration/test_dev`` runs real ones."""

from __future__ import annotations

import inspect

from vconnect.cli import developing


def test_everything_public_says_what_it_is() -> None:
    for name, one in vars(developing).items():
        if inspect.isfunction(one) and one.__module__ == developing.__name__:
            assert name.startswith("_") or one.__doc__, name
