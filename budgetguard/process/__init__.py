"""What one process holds and owes: its limits, its leases, its journal, and the holds that it keeps alive."""
