"""What can go wrong with a training; each says what to do about it."""

from __future__ import annotations

from switchtower.errors import AdapterError, JobFailed, SwitchtowerError


class TrainingDataError(JobFailed):
    """The training data cannot be used."""


class NotBetter(JobFailed):
    """The adapter does not beat both the untuned base model and the commonest answer, so it was not kept."""


class AlreadyTraining(JobFailed):
    """Another process trains this adapter now."""


class AlreadyTrained(AdapterError):
    """The queue trains what is new only; a version that stands on the shelf is never replaced from outside."""


class NotBetterThanLive(AdapterError):
    """The version does not beat the live one of its family on the same held-out records, so it is not deployed."""


class TrainingBroken(SwitchtowerError):
    """The process that trained has died; a new one goes on from its last checkpoint."""
