"""
LiteLLM Proxy's configuration as a gateway's file.

What has a counterpart is written down, what has none is a comment that names it, and nothing that may be a secret is in
the text: of a key that stood in the YAML there is the name of a variable to set.
"""
