"""boto3 and aioboto3: `hooks` are what is patched in botocore, `calls` read one call, `bodies` its unread answer."""
