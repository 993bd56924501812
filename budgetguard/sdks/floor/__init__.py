"""
The floor: requests of httpx and httpx2 to a model, by hand or by an SDK that no seam above knows.

`families` says which requests are ours, `hooks` is what is patched.
"""
