// Users, keys, groups and policies of a running server, called with the AWS SDK
// for JavaScript v3 as anybody would.
//
//     node iam.js
//
// The server and root's keys come from the standard AWS environment. Prints one
// line a case (ok or FAIL) and exits 1 when one failed.
import assert from "node:assert/strict";
import * as iam from "@aws-sdk/client-iam";
import * as kvs from "@aws-sdk/client-kinesis-video";
import { STSClient, GetCallerIdentityCommand } from "@aws-sdk/client-sts";

const endpoint = process.env.AWS_ENDPOINT_URL;
const region = process.env.AWS_REGION;

function caller(accessKeyId, secretAccessKey, at = region) {
  const config = { endpoint, region: at, maxAttempts: 1, credentials: { accessKeyId, secretAccessKey } };
  return { iam: new iam.IAMClient(config), sts: new STSClient(config), kvs: new kvs.KinesisVideoClient(config) };
}

const root = caller(process.env.AWS_ACCESS_KEY_ID, process.env.AWS_SECRET_ACCESS_KEY);

// call is root's call of an action by its name.
const call = (name, input = {}, who = root) => who.iam.send(new iam[name + "Command"](input));

async function fails(name, status, promise) {
  let e;
  try {
    await promise;
  } catch (caught) {
    e = caught;
  }
  assert.ok(e, "no " + name);
  assert.deepEqual([e.name, e.$metadata?.httpStatusCode], [name, status], e.message);
  assert.match(e.$metadata.requestId ?? "", /^[0-9a-f-]{36}$/);
  // A modelled exception must also arrive as its own class.
  const modelled = iam[name];
  if (modelled) assert.ok(e instanceof modelled, `${name} arrived as ${e.constructor.name}`);
  return e.message;
}

const document = (action, more = {}) =>
  JSON.stringify({ Version: "2012-10-17", Statement: [{ Effect: "Allow", Action: action, Resource: "*", ...more }] });

const cases = {
  async "who is calling"() {
    const who = await root.sts.send(new GetCallerIdentityCommand({}));
    assert.equal(who.Arn, `arn:aws:iam::${who.Account}:root`);
    const global = caller(process.env.AWS_ACCESS_KEY_ID, process.env.AWS_SECRET_ACCESS_KEY, "us-east-1");
    assert.deepEqual((await call("ListUsers", {}, global)).Users, []);
  },

  async "users"() {
    const { User } = await call("CreateUser", { UserName: "Administrator", Path: "/people/" });
    assert.match(User.Arn, /:user\/people\/Administrator$/);
    assert.ok(Math.abs(Date.now() - User.CreateDate) < 5 * 60e3);
    assert.deepEqual((await call("GetUser", { UserName: "Administrator" })).User, User);
    await fails("EntityAlreadyExistsException", 409, call("CreateUser", { UserName: "administrator" }));
    await fails("NoSuchEntityException", 404, call("GetUser", { UserName: "nobody" }));
    await fails("ValidationError", 400, call("CreateUser", { UserName: "a b" }));
    await fails("ValidationError", 400, call("CreateUser", { UserName: "x", Tags: [{ Key: "a", Value: "b" }] }));
    for (let i = 0; i < 7; i++) await call("CreateUser", { UserName: "cam-" + i });
    const sizes = [];
    for await (const page of iam.paginateListUsers({ client: root.iam, pageSize: 3 }, {})) sizes.push(page.Users.length);
    assert.deepEqual(sizes, [3, 3, 2]);
    assert.equal((await call("ListUsers", { PathPrefix: "/people/" })).Users.length, 1);
    for (let i = 1; i < 7; i++) await call("DeleteUser", { UserName: "cam-" + i });
  },

  async "access keys"() {
    const { AccessKey } = await call("CreateAccessKey", { UserName: "cam-0" });
    const second = (await call("CreateAccessKey", { UserName: "cam-0" })).AccessKey;
    await fails("LimitExceededException", 409, call("CreateAccessKey", { UserName: "cam-0" }));
    assert.equal((await call("ListAccessKeys", { UserName: "cam-0" })).AccessKeyMetadata.length, 2);
    await call("UpdateAccessKey", { UserName: "cam-0", AccessKeyId: second.AccessKeyId, Status: "Inactive" });
    await fails("InvalidClientTokenId", 403, call("ListUsers", {}, caller(second.AccessKeyId, second.SecretAccessKey)));
    await fails("DeleteConflictException", 409, call("DeleteUser", { UserName: "cam-0" }));
    await call("DeleteAccessKey", { UserName: "cam-0", AccessKeyId: second.AccessKeyId });
    await fails("SignatureDoesNotMatch", 403, call("ListUsers", {}, caller(AccessKey.AccessKeyId, "wrong")));
    cam = caller(AccessKey.AccessKeyId, AccessKey.SecretAccessKey);
    key = AccessKey.AccessKeyId;
    assert.match((await cam.sts.send(new GetCallerIdentityCommand({}))).Arn, /:user\/cam-0$/);
  },

  async "inline policies"() {
    assert.match(await fails("AccessDenied", 403, call("ListUsers", {}, cam)), /user\/cam-0 is not authorized to perform: iam:ListUsers on resource: arn:aws:iam::/);
    await fails("AccessDeniedException", 403, cam.kvs.send(new kvs.ListStreamsCommand({})));
    await call("PutUserPolicy", { UserName: "cam-0", PolicyName: "list", PolicyDocument: document("kinesisvideo:ListStreams") });
    assert.deepEqual((await cam.kvs.send(new kvs.ListStreamsCommand({}))).StreamInfoList, []);
    assert.deepEqual((await call("ListUserPolicies", { UserName: "cam-0" })).PolicyNames, ["list"]);
    const got = await call("GetUserPolicy", { UserName: "cam-0", PolicyName: "list" });
    assert.equal(decodeURIComponent(got.PolicyDocument), document("kinesisvideo:ListStreams"));
    const said = await fails("MalformedPolicyDocumentException", 400,
      call("PutUserPolicy", { UserName: "cam-0", PolicyName: "bad", PolicyDocument: '{\n  "Statement": [],\n}' }));
    assert.match(said, /line 3 column 1/);
    await call("DeleteUserPolicy", { UserName: "cam-0", PolicyName: "list" });
    await fails("AccessDeniedException", 403, cam.kvs.send(new kvs.ListStreamsCommand({})));
    await fails("NoSuchEntityException", 404, call("GetUserPolicy", { UserName: "cam-0", PolicyName: "list" }));
  },

  async "groups"() {
    await call("CreateGroup", { GroupName: "viewers" });
    await call("AddUserToGroup", { GroupName: "viewers", UserName: "cam-0" });
    assert.deepEqual((await call("ListGroupsForUser", { UserName: "cam-0" })).Groups.map((g) => g.GroupName), ["viewers"]);
    await call("PutGroupPolicy", { GroupName: "viewers", PolicyName: "p", PolicyDocument: document("iam:ListUsers") });
    assert.equal((await call("ListUsers", {}, cam)).Users.length, 2);
    await fails("DeleteConflictException", 409, call("DeleteGroup", { GroupName: "viewers" }));
    await call("DeleteGroupPolicy", { GroupName: "viewers", PolicyName: "p" });
  },

  async "managed policies"() {
    const aws = (await call("ListPolicies", { Scope: "AWS" })).Policies;
    assert.deepEqual(aws.map((p) => p.PolicyName),
      ["AdministratorAccess", "AmazonKinesisVideoStreamsFullAccess", "AmazonKinesisVideoStreamsReadOnlyAccess"]);
    const { Policy } = await call("CreatePolicy", { PolicyName: "write", PolicyDocument: document("kinesisvideo:PutMedia"), Description: "writes" });
    await call("AttachUserPolicy", { UserName: "cam-0", PolicyArn: Policy.Arn });
    await call("AttachGroupPolicy", { GroupName: "viewers", PolicyArn: aws[2].Arn });
    assert.deepEqual((await call("ListAttachedUserPolicies", { UserName: "cam-0" })).AttachedPolicies, [{ PolicyName: "write", PolicyArn: Policy.Arn }]);
    assert.deepEqual((await cam.kvs.send(new kvs.ListStreamsCommand({}))).StreamInfoList, []);
    assert.equal((await call("GetPolicy", { PolicyArn: Policy.Arn })).Policy.AttachmentCount, 1);
    await fails("EntityAlreadyExistsException", 409, call("CreatePolicy", { PolicyName: "write", PolicyDocument: document("*") }));
    await fails("DeleteConflictException", 409, call("DeletePolicy", { PolicyArn: Policy.Arn }));
    await fails("InvalidInputException", 400, call("AttachUserPolicy", { UserName: "cam-0", PolicyArn: "a string of 20 letters" }));
    const { EvaluationResults } = await call("SimulatePrincipalPolicy", {
      PolicySourceArn: (await call("GetUser", { UserName: "cam-0" })).User.Arn,
      ActionNames: ["kinesisvideo:PutMedia", "iam:CreateUser"],
    });
    assert.deepEqual(EvaluationResults.map((r) => r.EvalDecision), ["allowed", "implicitDeny"]);
    await call("DetachUserPolicy", { UserName: "cam-0", PolicyArn: Policy.Arn });
    await call("DeletePolicy", { PolicyArn: Policy.Arn });
  },

  async "what is deleted is gone"() {
    await call("RemoveUserFromGroup", { GroupName: "viewers", UserName: "cam-0" });
    await call("DetachGroupPolicy", { GroupName: "viewers", PolicyArn: "arn:aws:iam::aws:policy/AmazonKinesisVideoStreamsReadOnlyAccess" });
    await call("DeleteGroup", { GroupName: "viewers" });
    await call("DeleteAccessKey", { UserName: "cam-0", AccessKeyId: key });
    await call("DeleteUser", { UserName: "cam-0" });
    await fails("InvalidClientTokenId", 403, call("ListUsers", {}, cam));
    await fails("UnrecognizedClientException", 403, cam.kvs.send(new kvs.ListStreamsCommand({})));
  },
};

let cam, key;
let failed = false;
for (const [name, run] of Object.entries(cases)) {
  try {
    await run();
    console.log("ok " + name);
  } catch (e) {
    console.log(`FAIL ${name}: ${e.message}`);
    failed = true;
  }
}
process.exit(failed ? 1 : 0);
