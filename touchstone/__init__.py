"""Touchstone: are published robustness numbers true?"""

__version__ = "0.1.0"
