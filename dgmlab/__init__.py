"""dgmlab: an interactive teaching lab for deep generative models."""

__version__ = "0.1.0"
