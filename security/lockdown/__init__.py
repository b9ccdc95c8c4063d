"""The lockdown: anyone raises it, a controller holds the line open by a lease, and only operators release it."""

from security.lockdown.alarm import engage
from security.lockdown.status import Status, status
from switchtower.lease import Flag, Lease

__all__ = ["Flag", "Lease", "Status", "engage", "status"]
