"""boto3 and aioboto3: `hooks` are what is patched, `seam` how, `calls` read one call, `bodies` its unread answer."""
