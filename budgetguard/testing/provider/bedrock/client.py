"""A client of boto3 for the fake provider."""

from __future__ import annotations

from typing import Any


def client(url: str, service: str, **options: Any) -> Any:
    """A client of a service at a URL, with credentials that are none, that does not retry unless told to."""
    import boto3  # type: ignore[import-untyped]
    from botocore.config import Config  # type: ignore[import-untyped]

    config = Config(retries={"total_max_attempts": 1}).merge(options.pop("config", None) or Config())
    keys = {"aws_access_key_id": "none", "aws_secret_access_key": "none", "region_name": "us-east-1"}
    return boto3.client(service, **{"endpoint_url": url, "config": config, **keys, **options})
