"""The readings of a text that rules look at: as it came, and without whatever disguises it."""

from security.normalize.characters import INVISIBLE, clean, fold, unquote
from security.normalize.readings import AS_IT_CAME, Look, Reading, read

__all__ = ["AS_IT_CAME", "INVISIBLE", "Look", "Reading", "clean", "fold", "read", "unquote"]
