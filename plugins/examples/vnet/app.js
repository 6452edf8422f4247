/**
 * The backend "vnet": a VXLAN of one's own, in JavaScript, by componentize-qjs.
 *
 * One VXLAN device a node, whose Ethernet address comes from the node's seed and is published; a neighbour, a forwarding entry and a route a peer. Runs beside flannel's vxlan,
 * since network identifier, port and device name are its own. IPv4 only.
 *
 * An absent value is null in QuickJS and undefined in StarlingMonkey: `== null` means both.
 */

const NAME = "vnet";
const VERSION = "1.0.0";
/** The registered port (RFC 7348); flannel's vxlan has the kernel's default, 8472. */
const DEFAULTS = { VNI: 77, Port: 4789 };
/** Outer IPv4 (20), UDP (8), VXLAN (8) and inner Ethernet (14). */
const OVERHEAD = 50;
const LEAST_MTU = 576;
const LINK = "vxlan";

const OPTIONS_SCHEMA = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  properties: {
    Type: { const: NAME },
    VNI: { type: "integer", minimum: 1, maximum: 16777215, default: DEFAULTS.VNI, description: "VXLAN network identifier" },
    Port: { type: "integer", minimum: 1, maximum: 65535, default: DEFAULTS.Port, description: "UDP port" },
  },
};

const invalid = (text) => ({ tag: "invalid", val: text });
const unsuitable = (text) => ({ tag: "unsuitable", val: text });

/** A JSON object, or why it is none. */
function readObject(section, text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalid(`${section} is not JSON: ${error.message}`);
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw invalid(`${section} must be an object`);
  }
  return value;
}

/** The options, checked: JavaScript would turn −1 into a large number, and 1.5 into 1, without a word. */
function readOptions(section, text) {
  const given = readObject(section, text);
  const options = {};
  for (const [key, fallback] of Object.entries(DEFAULTS)) {
    const { minimum, maximum } = OPTIONS_SCHEMA.properties[key];
    const value = given[key] ?? fallback;
    if (!Number.isInteger(value) || value < minimum || value > maximum) {
      throw invalid(`${section}.${key} must be a whole number from ${minimum} to ${maximum}, not ${JSON.stringify(value)}`);
    }
    options[key] = value;
  }
  return options;
}

/** What a peer publishes: its identifier and Ethernet address. */
function readData(way) {
  if (way.dataV4 == null) {
    throw unsuitable("no BackendData is published");
  }
  const { VNI, MAC } = readObject("BackendData", way.dataV4);
  if (typeof MAC !== "string" || !/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(MAC)) {
    throw invalid(`BackendData.MAC must be an Ethernet address, not ${JSON.stringify(MAC ?? null)}`);
  }
  return { VNI, MAC };
}

/** An Ethernet address of the locally administered kind, the same after every start: the seed's bytes, folded to six so that none of them is shown. */
function macOf(seed, vni) {
  const bytes = [0, 0, 0, 0, 0, vni & 0xff];
  for (let place = 0; place + 2 <= seed.length; place += 2) {
    const byte = parseInt(seed.slice(place, place + 2), 16) || 0;
    const at = (place / 2) % 6;
    bytes[at] = (bytes[at] * 31 + byte * 7 + place) & 0xff;
  }
  bytes[0] = (bytes[0] & 0xfe) | 0x02;
  return bytes.map((byte) => byte.toString(16).padStart(2, "0")).join(":");
}

function v4(of, what) {
  if (of.v4 == null) {
    throw unsuitable(`${what} has no IPv4`);
  }
  return of.v4;
}

/** The interface's own address: the public one if it is there, else (behind NAT) the first. */
function interfaceAddress(node) {
  const own = node.underlay.addresses.filter((net) => !net.includes(":")).map((net) => net.split("/")[0]);
  if (own.length === 0) {
    throw unsuitable(`${node.underlay.name} has no IPv4 address`);
  }
  return own.includes(node.public.v4) ? node.public.v4 : own[0];
}

const base = (prefix) => prefix.split("/")[0];

export const backendApi = {
  describe() {
    const summary = "a VXLAN of one's own, with Ethernet addresses from the nodes' seeds";
    return { name: NAME, version: VERSION, summary, optionsSchema: JSON.stringify(OPTIONS_SCHEMA) };
  },

  advertise(network, node, options, previous, existing) {
    const { VNI, Port } = readOptions("Backend", options);
    v4(node.public, "this node's public address");
    const data = JSON.stringify({ VNI, MAC: macOf(node.seed, VNI) });
    return { backend: NAME, options: JSON.stringify({ VNI, Port }), dataV4: data, dataV6: null };
  },

  local(context) {
    const { VNI, Port } = readOptions("this node's options", context.way.options);
    const { name, mtu: underlay } = context.node.underlay;
    const mtu = underlay - OVERHEAD;
    if (mtu < LEAST_MTU) {
      throw unsuitable(`${name}'s MTU of ${underlay} leaves no room for packets in VXLAN`);
    }
    const kind = { tag: "vxlan", val: { vni: VNI, port: Port, local: interfaceAddress(context.node), learning: false, gbp: false } };
    const link = { handle: LINK, name: "vnet%d", kind, mtu, mac: readData(context.way).MAC };
    const address = { on: LINK, address: `${base(v4(context.mine.subnets, "this node's subnet"))}/32` };
    return { items: [{ tag: "link", val: link }, { tag: "assignment", val: address }], podMtu: mtu };
  },

  sendTo(context, peer, over, road) {
    const to = v4(peer.subnets, "the peer's subnet");
    const outer = v4(peer.public, "the peer's public address");
    const own = readData(context.way);
    const theirs = readData(over);
    if (theirs.VNI !== own.VNI) {
      throw unsuitable(`the peer is in the VXLAN ${JSON.stringify(theirs.VNI ?? null)}, this node in ${own.VNI}`);
    }
    if (theirs.MAC === own.MAC) {
      throw invalid(`the peer publishes this node's own Ethernet address ${own.MAC}`);
    }
    const gateway = base(to);
    const route = { to, via: gateway, on: { tag: "link", val: LINK }, onlink: true, scopeGlobal: false, mtu: null };
    return [
      { tag: "neighbour", val: { on: LINK, address: gateway, mac: theirs.MAC } },
      { tag: "fdb", val: { on: LINK, mac: theirs.MAC, to: outer } },
      { tag: "route", val: route },
    ];
  },

  receiveFrom(context, peer) {
    return [];
  },
};
