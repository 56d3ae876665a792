"""What must survive a crash: intents, handles, orders, deadlines and leases, in a folder or on Valkey/Redis."""

from backup_to_image.journal.journal import Journal, JournalError
from backup_to_image.journal.lease import LEASE_SECONDS, Lease, hold
from backup_to_image.journal.record import Record
from backup_to_image.journal.store import Store

__all__ = ["LEASE_SECONDS", "Journal", "JournalError", "Lease", "Record", "Store", "hold"]
