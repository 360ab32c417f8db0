#!/usr/bin/env python3
"""Keys as boto3 sees them: prints one JSON object. The endpoint is the server's."""
import json
import os

import boto3

kms = boto3.client("kms", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
kvs = boto3.client("kinesisvideo", endpoint_url=os.environ["AWS_ENDPOINT_URL"])

key = kms.create_key(Description="of the harbour")["KeyMetadata"]
kms.create_alias(AliasName="alias/harbour", TargetKeyId=key["KeyId"])
kvs.create_stream(StreamName="cam", KmsKeyId="alias/harbour")
kvs.create_stream(StreamName="later", KmsKeyId="alias/not-yet")

missing = ""
try:
    kms.describe_key(KeyId="alias/nobody")
except kms.exceptions.NotFoundException as e:
    missing = e.response["Error"]["Code"]
states = []
for change in kms.disable_key, kms.enable_key:
    change(KeyId=key["KeyId"])
    states.append(kms.describe_key(KeyId="alias/harbour")["KeyMetadata"]["KeyState"])
kms.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=7)
states.append(kms.describe_key(KeyId=key["Arn"])["KeyMetadata"]["KeyState"])

print(json.dumps({
    "keys": [k["KeyArn"] == key["Arn"] for k in kms.list_keys()["Keys"]],
    "aliases": {a["AliasName"]: a.get("TargetKeyId") == key["KeyId"] for a in kms.list_aliases()["Aliases"]},
    "description": kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["Description"],
    "states": states,
    "missing": missing,
    "streams": [kvs.describe_stream(StreamName=n)["StreamInfo"]["KmsKeyId"].replace(key["Arn"], "the key") for n in ("cam", "later")],
}))
