"""
The gateway: programs in any language point their base URL at it, and hard budgets hold.

It keeps the providers' keys, and passes each API through to an upstream that speaks it, byte for byte. `config/` is
what an operator decides, `routing/` which upstream is next, `call/` one call from its request to its settlement.
"""
