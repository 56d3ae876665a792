"""A night over a fleet: planned, served many at a time, shared among workers, some of its images verified by drill."""
