"""
Keys: who may do what in which project, and what it may come to.

From the bottom up: `limits` and `models` are what a key or an owner may; `records` are keys and their owners as they
are stored, `ring` and `owners` change them, and `finding` says who asks.
"""

from .finding.caller import Caller as Caller
from .finding.caller import Customer as Customer
from .finding.caller import OwnerRules as OwnerRules
from .finding.keys import KNOWN as KNOWN
from .finding.keys import KNOWN_S as KNOWN_S
from .finding.keys import Keys as Keys
from .limits import OwnerLimits as OwnerLimits
from .limits import rules_of as rules_of
from .owners import Owners as Owners
from .records import ADMIN as ADMIN
from .records import CALL as CALL
from .records import READ as READ
from .records import SCOPES as SCOPES
from .records import SPEND as SPEND
from .records import Grant as Grant
from .records import HearKeys as HearKeys
from .records import Key as Key
from .records import KeyChanged as KeyChanged
from .records import Owner as Owner
from .ring import KeyRing as KeyRing
