// Users, keys and policies over IAM's Query API.
import type { Client } from "./client";

export interface User {
  name: string;
  arn: string;
  created: string;
}

export interface AccessKey {
  id: string;
  status: string;
  created: string;
}

export interface Decision {
  action: string;
  resource: string;
  decision: string; // allowed, explicitDeny, implicitDeny
  statements: string[];
}

const text = (e: Element | null | undefined, name: string) => e?.querySelector(`:scope > ${name}`)?.textContent ?? "";

const user = (e: Element | null): User => ({ name: text(e, "UserName"), arn: text(e, "Arn"), created: text(e, "CreateDate") });

export class IAM {
  constructor(readonly client: Client) {}

  async me(): Promise<{ arn: string; account: string }> {
    const r = await this.client.query("GetCallerIdentity", {}, "sts");
    return { arn: r.querySelector("Arn")?.textContent ?? "", account: r.querySelector("Account")?.textContent ?? "" };
  }

  private async pages(action: string, input: Record<string, string>, list: string): Promise<Element[]> {
    const all: Element[] = [];
    let marker: string | undefined;
    do {
      const r = await this.client.query(action, { ...input, Marker: marker });
      all.push(...r.querySelectorAll(`${list} > member`));
      marker = r.querySelector("IsTruncated")?.textContent === "true" ? (r.querySelector("Marker")?.textContent ?? undefined) : undefined;
    } while (marker);
    return all;
  }

  /** users is a page of the users, and where the next one begins. */
  async users(most: number, after?: string, signal?: AbortSignal): Promise<{ items: User[]; next?: string }> {
    const r = await this.client.query("ListUsers", { MaxItems: String(most), Marker: after }, "iam", signal);
    return {
      items: [...r.querySelectorAll("Users > member")].map(user),
      next: r.querySelector("IsTruncated")?.textContent === "true" ? (r.querySelector("Marker")?.textContent ?? undefined) : undefined,
    };
  }

  async user(name: string): Promise<User> {
    return user((await this.client.query("GetUser", { UserName: name })).querySelector("User"));
  }

  async groups(name: string): Promise<string[]> {
    return (await this.pages("ListGroupsForUser", { UserName: name }, "Groups")).map((g) => text(g, "GroupName"));
  }

  /** managed is every managed policy that could be attached. */
  async managed(): Promise<{ name: string; arn: string }[]> {
    return (await this.pages("ListPolicies", {}, "Policies")).map((p) => ({ name: text(p, "PolicyName"), arn: text(p, "Arn") }));
  }

  createUser(name: string) {
    return this.client.query("CreateUser", { UserName: name });
  }

  async deleteUser(name: string) {
    // As the IAM console does it: what hangs on the user goes first.
    for (const k of await this.accessKeys(name)) await this.deleteKey(name, k.id);
    for (const p of await this.policies(name)) await this.client.query("DeleteUserPolicy", { UserName: name, PolicyName: p });
    for (const p of await this.attached(name)) await this.client.query("DetachUserPolicy", { UserName: name, PolicyArn: p.arn });
    for (const g of await this.groups(name)) await this.client.query("RemoveUserFromGroup", { UserName: name, GroupName: g });
    await this.client.query("DeleteUser", { UserName: name });
  }

  async accessKeys(user: string): Promise<AccessKey[]> {
    const all = await this.pages("ListAccessKeys", { UserName: user }, "AccessKeyMetadata");
    return all.map((k) => ({ id: text(k, "AccessKeyId"), status: text(k, "Status"), created: text(k, "CreateDate") }));
  }

  async createKey(user: string): Promise<{ id: string; secret: string }> {
    const r = await this.client.query("CreateAccessKey", { UserName: user });
    return { id: r.querySelector("AccessKeyId")?.textContent ?? "", secret: r.querySelector("SecretAccessKey")?.textContent ?? "" };
  }

  setKey(user: string, id: string, active: boolean) {
    return this.client.query("UpdateAccessKey", { UserName: user, AccessKeyId: id, Status: active ? "Active" : "Inactive" });
  }

  deleteKey(user: string, id: string) {
    return this.client.query("DeleteAccessKey", { UserName: user, AccessKeyId: id });
  }

  async policies(user: string): Promise<string[]> {
    const all = await this.pages("ListUserPolicies", { UserName: user }, "PolicyNames");
    return all.map((p) => p.textContent ?? "");
  }

  async attached(user: string): Promise<{ name: string; arn: string }[]> {
    const all = await this.pages("ListAttachedUserPolicies", { UserName: user }, "AttachedPolicies");
    return all.map((p) => ({ name: text(p, "PolicyName"), arn: text(p, "PolicyArn") }));
  }

  attach(user: string, arn: string) {
    return this.client.query("AttachUserPolicy", { UserName: user, PolicyArn: arn });
  }

  detach(user: string, arn: string) {
    return this.client.query("DetachUserPolicy", { UserName: user, PolicyArn: arn });
  }

  async policy(user: string, name: string): Promise<string> {
    const r = await this.client.query("GetUserPolicy", { UserName: user, PolicyName: name });
    return decodeURIComponent(r.querySelector("PolicyDocument")?.textContent ?? "");
  }

  putPolicy(user: string, name: string, document: string) {
    return this.client.query("PutUserPolicy", { UserName: user, PolicyName: name, PolicyDocument: document });
  }

  deletePolicy(user: string, name: string) {
    return this.client.query("DeleteUserPolicy", { UserName: user, PolicyName: name });
  }

  /** simulate asks what the caller, or the user named by arn, may do. */
  async simulate(arn: string, actions: string[], resource: string): Promise<Decision[]> {
    const input: Record<string, string> = { PolicySourceArn: arn, "ResourceArns.member.1": resource };
    actions.forEach((a, i) => (input[`ActionNames.member.${i + 1}`] = a));
    const r = await this.client.query("SimulatePrincipalPolicy", input);
    return [...r.querySelectorAll("EvaluationResults > member")].map((m) => ({
      action: text(m, "EvalActionName"),
      resource: text(m, "EvalResourceName"),
      decision: text(m, "EvalDecision"),
      statements: [...m.querySelectorAll("MatchedStatements > member")].map((s) => text(s, "SourcePolicyId")),
    }));
  }
}
