"""
For those who come from LiteLLM Proxy: its admin API over the gateway's own keys, teams, customers and books, on a
prefix that can be turned off.

What a script asks is done or refused with a sentence: a field that would leave something less limited, were it not
read, is never passed over. `admin/` has a file for each kind of endpoint, `said` is how their bodies are read.
"""
