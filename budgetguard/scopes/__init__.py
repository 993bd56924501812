"""What users write around their calls: `budget(...)` and `@budgeted(...)`."""

from .carry import carry_scope as carry_scope
from .context import budget as budget
from .decorators import budgeted as budgeted
