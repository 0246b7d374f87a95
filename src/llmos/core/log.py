"""Logging: one stderr handler on the logger `llmos`, set up by the faces (CLI, server), never on import."""

import logging

__all__ = ["get_logger", "set_up_logging"]


def get_logger(name: str) -> logging.Logger:
    """The logger `llmos.<name>`."""
    return logging.getLogger(f"llmos.{name}")


def set_up_logging(level: str) -> None:
    """Send LLMOS records of at least `level` (debug, info, warning, error) to stderr. Calling it again changes the level."""
    logger = logging.getLogger("llmos")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)
        logger.propagate = False
    logger.setLevel(level.upper())
