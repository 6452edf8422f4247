import assert from "node:assert/strict";
import test from "node:test";

import { backendApi } from "./app.js";

const network = { ranges: ["10.10.0.0/16"], backend: "@name@" };
const node = { id: "node-1", underlay: { name: "eth0", mtu: 1500, addresses: ["10.98.0.1/24"] }, public: { v4: "10.98.0.1", v6: null }, seed: "07", keys: [] };
const way = (options = "{}") => backendApi.advertise(network, node, options, null, []);
const lease = (number) => ({
  subnets: { v4: `10.10.${number}.0/24`, v6: null },
  public: { v4: `10.98.0.${number}`, v6: null },
  ways: [way()],
  node: `node-${number}`,
  life: { tag: "seconds", val: 86400 },
});
const context = (own = way()) => ({ network, node, mine: lease(1), way: own, primary: true });

test("a peer on the link is the gateway to its subnet", () => {
  const [item] = backendApi.sendTo(context(), lease(2), way(), { v4: "on-link", v6: "unreachable" });
  assert.equal(item.tag, "route");
  assert.deepEqual([item.val.to, item.val.via], ["10.10.2.0/24", "10.98.0.2"]);
});

test("a peer behind a router is for another way", () => {
  const send = () => backendApi.sendTo(context(), lease(2), way(), { v4: "routed", v6: "unreachable" });
  assert.throws(send, { tag: "unsuitable", val: "10.98.0.2 is not on this link" });
});

test("an MTU that is none is refused by name", () => {
  assert.equal(backendApi.local(context(way('{"MTU": 1400}'))).podMtu, 1400);
  assert.throws(() => way('{"MTU": "much"}'), (thrown) => thrown.tag === "invalid" && thrown.val.includes("Backend.MTU"));
});
