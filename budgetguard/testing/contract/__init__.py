"""
The contract of a store: what `budgetguard.ledger.Store` promises, as tests that every store passes unchanged.

    class TestMyStore(StoreContract):
        def make_store(self, clock):
            return MyStore(..., clock=clock)          # empty

        def same_store(self, clock):
            return MyStore(..., clock=clock)          # another client of the books that make_store opened

They know nothing of a store's insides. After each test the books must add up (`check()`).
"""

from __future__ import annotations

from .admission import AdmissionContract
from .base import together
from .clients import ClientsContract
from .endings import EndingsContract
from .expiry import ExpiryContract
from .leases import LeasesContract
from .loading import LoadingContract
from .reading import ReadingContract
from .records import RecordsContract
from .units.amounts import UnitsContract
from .units.places import PlacesContract

__all__ = ["StoreContract", "together"]


class StoreContract(
    AdmissionContract,
    EndingsContract,
    ExpiryContract,
    ClientsContract,
    LeasesContract,
    LoadingContract,
    PlacesContract,
    ReadingContract,
    RecordsContract,
    UnitsContract,
):
    """Subclass it, with `make_store`, and pytest runs the contract against your store."""
