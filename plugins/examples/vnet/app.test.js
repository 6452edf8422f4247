import assert from "node:assert/strict";
import test from "node:test";

import { backendApi } from "./app.js";

const network = { ranges: ["10.10.0.0/16"], backend: "vnet" };
const seed = (number) => number.toString(16).padStart(2, "0").repeat(32);
const node = (number, mtu = 1500) => ({
  id: `node-${number}`,
  underlay: { name: "eth0", mtu, addresses: ["fe80::1/64", `10.98.0.${number}/24`] },
  public: { v4: `10.98.0.${number}`, v6: null },
  seed: seed(number),
  keys: [],
});
const way = (number, options = "{}") => backendApi.advertise(network, node(number), options, null, []);
const lease = (number) => ({
  subnets: { v4: `10.10.${number}.0/24`, v6: null },
  public: { v4: `10.98.0.${number}`, v6: null },
  ways: [way(number)],
  node: `node-${number}`,
  life: { tag: "seconds", val: 86400 },
});
const context = (mtu = 1500) => ({ network, node: node(1, mtu), mine: lease(1), way: way(1), primary: true });
const send = (over) => backendApi.sendTo(context(), lease(2), over, { v4: "routed", v6: "unreachable" });

test("each node has an Ethernet address of its own, the same each time, and shows nothing of its seed", () => {
  const macs = [1, 2, 3].map((number) => JSON.parse(way(number).dataV4).MAC);
  assert.equal(new Set(macs).size, 3);
  assert.equal(JSON.parse(way(1).dataV4).MAC, macs[0]);
  for (const mac of macs) {
    assert.match(mac, /^[0-9a-f][26ae](:[0-9a-f]{2}){5}$/);
  }
});

test("the device is there whoever the peers are", () => {
  const { items, podMtu } = backendApi.local(context());
  const [link, address] = items.map((item) => item.val);
  assert.deepEqual(link.kind.val, { vni: 77, port: 4789, local: "10.98.0.1", learning: false, gbp: false });
  assert.deepEqual([link.mtu, podMtu, address.address], [1450, 1450, "10.10.1.0/32"]);
});

test("a peer takes a neighbour, a forwarding entry and a route", () => {
  const [neighbour, fdb, route] = send(way(2));
  const mac = JSON.parse(way(2).dataV4).MAC;
  assert.deepEqual(neighbour, { tag: "neighbour", val: { on: "vxlan", address: "10.10.2.0", mac } });
  assert.deepEqual(fdb, { tag: "fdb", val: { on: "vxlan", mac, to: "10.98.0.2" } });
  assert.deepEqual([route.val.to, route.val.via, route.val.onlink], ["10.10.2.0/24", "10.10.2.0", true]);
});

test("refusals say why", () => {
  assert.throws(() => send(way(2, '{"VNI": 78}')), (thrown) => thrown.tag === "unsuitable" && thrown.val.includes("78"));
  assert.throws(() => send(way(1)), (thrown) => thrown.tag === "invalid" && thrown.val.includes("own Ethernet address"));
  assert.throws(() => send({ ...way(2), dataV4: null }), { tag: "unsuitable" });
  for (const data of ["x", "[]", "null", '{"MAC": 7}', '{"MAC": "zz:zz:zz:zz:zz:zz"}']) {
    assert.throws(() => send({ ...way(2), dataV4: data }), (thrown) => thrown.tag === "invalid", data);
  }
  for (const options of ["[]", "{", '{"VNI": 0}', '{"VNI": 16777216}', '{"Port": 1.5}', '{"Port": "x"}', '{"Port": true}']) {
    assert.throws(() => way(1, options), (thrown) => thrown.tag === "invalid" && thrown.val.startsWith("Backend"), options);
  }
  assert.throws(() => backendApi.local(context(600)), { tag: "unsuitable" });
});
