"""The release of LiteLLM whose admin API this is."""

LITELLM_VERSION = "1.110.2"
