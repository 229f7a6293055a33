"""Sells reserved seats: three stream-processing roles over a broker, or all of them in one process."""

__version__ = "0.2.0"
