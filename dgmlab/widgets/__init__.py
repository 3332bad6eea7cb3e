"""Live panels. Importing this package loads nothing yet: the painter process must start without torch."""

import importlib

_HOME = {"Panel": "panel", "playback": "player", "vae_panel": "vae"}
__all__ = list(_HOME)


def __getattr__(name):
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
