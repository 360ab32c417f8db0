"""IAM and STS of a running server, called as anybody would call them with boto3.

Arguments: endpoint, access key id, secret access key, region.
"""
import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

endpoint, key, secret, region = sys.argv[1:5]
ANY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "kinesisvideo:*", "Resource": "*"}]}


def client(service, key=key, secret=secret, region=region, token=None):
    return boto3.client(service, endpoint_url=endpoint, region_name=region, aws_access_key_id=key,
                        aws_secret_access_key=secret, aws_session_token=token,
                        config=Config(retries={"max_attempts": 0}))


def fails(code, status, fn, **kwargs):
    try:
        fn(**kwargs)
    except ClientError as e:
        got = (e.response["Error"]["Code"], e.response["ResponseMetadata"]["HTTPStatusCode"])
        assert got == (code, status), (got, e)
        assert e.response["ResponseMetadata"]["RequestId"], e
        return e.response["Error"]["Message"]
    raise AssertionError("no %s from %s %s" % (code, fn.__name__, kwargs))


iam, sts = client("iam"), client("sts")
who = sts.get_caller_identity()
account = who["Account"]
assert who["Arn"] == "arn:aws:iam::%s:root" % account and who["UserId"] == account, who
assert iam.get_user()["User"]["Arn"].endswith(":root")
# SDKs sign for us-east-1 when they take IAM for a global service.
assert client("iam", region="us-east-1").list_users()["Users"] == []

# Users.
user = iam.create_user(UserName="Administrator", Path="/people/")["User"]
assert user["Arn"] == "arn:aws:iam::%s:user/people/Administrator" % account, user
assert user["CreateDate"].tzinfo is not None
assert "administrator already exists" in fails("EntityAlreadyExists", 409, iam.create_user, UserName="administrator")
assert iam.get_user(UserName="Administrator")["User"] == user
fails("NoSuchEntity", 404, iam.get_user, UserName="nobody")
fails("ValidationError", 400, iam.create_user, UserName="a b")
fails("ValidationError", 400, iam.create_user, UserName="x", Tags=[{"Key": "a", "Value": "b"}])
fails("ValidationError", 400, iam.create_user, UserName="x", PermissionsBoundary="arn:aws:iam::aws:policy/AdministratorAccess")
for i in range(25):
    iam.create_user(UserName="cam-%02d" % i)
pages = list(iam.get_paginator("list_users").paginate(PaginationConfig={"PageSize": 10}))
assert [len(p["Users"]) for p in pages] == [10, 10, 6], pages
names = [u["UserName"] for p in pages for u in p["Users"]]
assert names == ["Administrator"] + ["cam-%02d" % i for i in range(25)], names
assert [u["UserName"] for u in iam.list_users(PathPrefix="/people/")["Users"]] == ["Administrator"]
for i in range(1, 25):
    iam.delete_user(UserName="cam-%02d" % i)

# Access keys.
fails("ValidationError", 400, iam.create_access_key)
k = iam.create_access_key(UserName="cam-00")["AccessKey"]
assert k["Status"] == "Active" and k["UserName"] == "cam-00" and len(k["SecretAccessKey"]) == 40, k
k2 = iam.create_access_key(UserName="cam-00")["AccessKey"]
assert "AccessKeysPerUser" in fails("LimitExceeded", 409, iam.create_access_key, UserName="cam-00")
listed = iam.list_access_keys(UserName="cam-00")["AccessKeyMetadata"]
assert sorted(x["AccessKeyId"] for x in listed) == sorted([k["AccessKeyId"], k2["AccessKeyId"]]), listed
assert all("SecretAccessKey" not in x for x in listed)
iam.update_access_key(UserName="cam-00", AccessKeyId=k2["AccessKeyId"], Status="Inactive")
fails("InvalidClientTokenId", 403, client("sts", k2["AccessKeyId"], k2["SecretAccessKey"]).get_caller_identity)
fails("DeleteConflict", 409, iam.delete_user, UserName="cam-00")
iam.delete_access_key(UserName="cam-00", AccessKeyId=k2["AccessKeyId"])
fails("NoSuchEntity", 404, iam.delete_access_key, UserName="cam-00", AccessKeyId=k2["AccessKeyId"])

# The user itself: may ask who it is, and nothing else.
mine = client("iam", k["AccessKeyId"], k["SecretAccessKey"])
me = client("sts", k["AccessKeyId"], k["SecretAccessKey"]).get_caller_identity()
assert me["Arn"] == "arn:aws:iam::%s:user/cam-00" % account and me["UserId"].startswith("AIDA"), me
said = fails("AccessDenied", 403, mine.list_users)
assert "user/cam-00 is not authorized to perform: iam:ListUsers on resource: arn:aws:iam::%s:user/" % account in said, said
fails("AccessDenied", 403, mine.get_user, UserName="nobody")
fails("SignatureDoesNotMatch", 403, client("iam", k["AccessKeyId"], "wrong").list_users)
fails("InvalidClientTokenId", 403, client("iam", "AKIANOBODY0000000000", "wrong").list_users)

# Inline policies.
iam.put_user_policy(UserName="cam-00", PolicyName="self", PolicyDocument=json.dumps({
    "Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": ["iam:GetUser", "iam:*AccessKey*"],
                                           "Resource": "arn:aws:iam::*:user/${aws:username}"}}, indent=2))
assert mine.get_user()["User"]["UserName"] == "cam-00"
assert len(mine.list_access_keys()["AccessKeyMetadata"]) == 1
fails("AccessDenied", 403, mine.list_access_keys, UserName="Administrator")
got = iam.get_user_policy(UserName="cam-00", PolicyName="self")
assert got["PolicyDocument"]["Statement"]["Action"] == ["iam:GetUser", "iam:*AccessKey*"], got
assert iam.list_user_policies(UserName="cam-00")["PolicyNames"] == ["self"]
assert iam.list_user_policies(UserName="Administrator")["PolicyNames"] == []
said = fails("MalformedPolicyDocument", 400, iam.put_user_policy, UserName="cam-00", PolicyName="bad",
             PolicyDocument='{\n  "Version": "2012-10-17",\n  "Statement": [],\n}')
assert "line 4 column 1" in said, said
iam.delete_user_policy(UserName="cam-00", PolicyName="self")
fails("NoSuchEntity", 404, iam.get_user_policy, UserName="cam-00", PolicyName="self")

# Groups.
g = iam.create_group(GroupName="viewers")["Group"]
assert g["Arn"] == "arn:aws:iam::%s:group/viewers" % account, g
iam.add_user_to_group(GroupName="viewers", UserName="cam-00")
assert [x["GroupName"] for x in iam.list_groups_for_user(UserName="cam-00")["Groups"]] == ["viewers"]
assert iam.list_groups_for_user(UserName="Administrator")["Groups"] == []
got = iam.get_group(GroupName="viewers")
assert got["Group"]["GroupName"] == "viewers" and [u["UserName"] for u in got["Users"]] == ["cam-00"], got
assert [x["GroupName"] for x in iam.list_groups()["Groups"]] == ["viewers"]
iam.put_group_policy(GroupName="viewers", PolicyName="p", PolicyDocument=json.dumps(ANY))
assert iam.list_group_policies(GroupName="viewers")["PolicyNames"] == ["p"]
assert iam.get_group_policy(GroupName="viewers", PolicyName="p")["PolicyDocument"] == ANY
fails("DeleteConflict", 409, iam.delete_group, GroupName="viewers")

# Managed policies.
aws = iam.list_policies(Scope="AWS")["Policies"]
assert [p["PolicyName"] for p in aws] == ["AdministratorAccess", "AmazonKinesisVideoStreamsFullAccess",
                                          "AmazonKinesisVideoStreamsReadOnlyAccess"], aws
p = iam.create_policy(PolicyName="kinesis-video-stream-write-policy", PolicyDocument=json.dumps(ANY), Description="writes")["Policy"]
assert p["Arn"] == "arn:aws:iam::%s:policy/kinesis-video-stream-write-policy" % account and p["AttachmentCount"] == 0, p
iam.attach_user_policy(UserName="cam-00", PolicyArn=p["Arn"])
iam.attach_group_policy(GroupName="viewers", PolicyArn=aws[2]["Arn"])
assert iam.list_attached_user_policies(UserName="cam-00")["AttachedPolicies"] == [
    {"PolicyName": p["PolicyName"], "PolicyArn": p["Arn"]}]
assert iam.list_attached_group_policies(GroupName="viewers")["AttachedPolicies"][0]["PolicyArn"] == aws[2]["Arn"]
assert iam.get_policy(PolicyArn=p["Arn"])["Policy"]["AttachmentCount"] == 1
assert [x["PolicyName"] for x in iam.list_policies(Scope="Local")["Policies"]] == [p["PolicyName"]]
assert len(iam.list_policies(OnlyAttached=True)["Policies"]) == 2
assert sum(len(x["Policies"]) for x in iam.get_paginator("list_policies").paginate(PaginationConfig={"PageSize": 1})) == 4
version = iam.get_policy_version(PolicyArn=aws[1]["Arn"], VersionId="v1")["PolicyVersion"]
assert version["IsDefaultVersion"] and version["Document"]["Statement"][0]["Action"] == ["kinesisvideo:*", "sluice:*"], version
assert [v["VersionId"] for v in iam.list_policy_versions(PolicyArn=p["Arn"])["Versions"]] == ["v1"]
fails("EntityAlreadyExists", 409, iam.create_policy, PolicyName=p["PolicyName"], PolicyDocument=json.dumps(ANY))
fails("DeleteConflict", 409, iam.delete_policy, PolicyArn=p["Arn"])
fails("NoSuchEntity", 404, iam.attach_user_policy, UserName="cam-00", PolicyArn="arn:aws:iam::aws:policy/NoSuchPolicy")
fails("InvalidInput", 400, iam.attach_user_policy, UserName="cam-00", PolicyArn="a string of 20 letters")

# Simulation.
arn = "arn:aws:kinesisvideo:%s:%s:stream/cam/1600000000000" % (region, account)
res = iam.simulate_principal_policy(
    PolicySourceArn="arn:aws:iam::%s:user/cam-00" % account, ActionNames=["kinesisvideo:PutMedia", "iam:CreateUser"],
    ResourceArns=[arn], ContextEntries=[{"ContextKeyName": "aws:SourceIp", "ContextKeyValues": ["10.0.0.1"], "ContextKeyType": "ip"}],
    PolicyInputList=[json.dumps({"Statement": {"Effect": "Deny", "Action": "iam:*", "Resource": "*",
                                               "Condition": {"Bool": {"aws:SecureTransport": "false"}}}})])["EvaluationResults"]
assert [(r["EvalActionName"], r["EvalDecision"]) for r in res] == [("kinesisvideo:PutMedia", "allowed"), ("iam:CreateUser", "implicitDeny")], res
assert res[0]["MatchedStatements"][0]["StartPosition"] == {"Line": 1, "Column": 41}, res[0]["MatchedStatements"]
assert res[1]["MissingContextValues"] == ["aws:securetransport"], res[1]
fails("NoSuchEntity", 404, iam.simulate_principal_policy, PolicySourceArn="arn:aws:iam::%s:user/nobody" % account, ActionNames=["a:B"])
fails("InvalidInput", 400, iam.simulate_principal_policy, PolicySourceArn="arn:aws:iam::%s:role/nobody" % account, ActionNames=["a:B"])
res = iam.simulate_custom_policy(PolicyInputList=[json.dumps(ANY)], ActionNames=["kinesisvideo:GetMedia"])["EvaluationResults"]
assert res[0]["EvalDecision"] == "allowed" and res[0]["EvalResourceName"] == "*", res

# What was given is taken away again.
iam.detach_user_policy(UserName="cam-00", PolicyArn=p["Arn"])
iam.detach_group_policy(GroupName="viewers", PolicyArn=aws[2]["Arn"])
iam.delete_policy(PolicyArn=p["Arn"])
iam.delete_group_policy(GroupName="viewers", PolicyName="p")
iam.remove_user_from_group(GroupName="viewers", UserName="cam-00")
iam.delete_group(GroupName="viewers")
iam.delete_access_key(UserName="cam-00", AccessKeyId=k["AccessKeyId"])
iam.delete_user(UserName="cam-00")
fails("InvalidClientTokenId", 403, mine.list_users)

# Presigned, as some tools ask who their user is.
import urllib.request
url = sts.generate_presigned_url("get_caller_identity", HttpMethod="GET")
assert b"<Arn>arn:aws:iam::" in urllib.request.urlopen(url).read()
print("ok")
