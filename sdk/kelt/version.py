"""The version of the distribution, and of the protocol that its processes speak."""

__version__ = "0.1.0"

#: Raised when a message changes meaning; the previous one stays supported.
PROTOCOL = 1
