"""The terminal: `stashhog`, one module per group of commands."""

from stashhog.cli.app import main

__all__ = ["main"]
