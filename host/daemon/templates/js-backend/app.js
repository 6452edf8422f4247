/**
 * The backend "@name@": plain routes to peers on the same link.
 *
 * It plans, and nothing else: the daemon asks once what there is on this node in any case (local), then about one peer at a time, checks what comes
 * back against its policy and makes the kernel so. Same arguments, same answer.
 *
 * An absent value is null here, and may be undefined in another engine: test with `== null`.
 */

const OPTIONS_SCHEMA = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  properties: {
    Type: { const: "@name@" },
    MTU: { type: "integer", minimum: 576, maximum: 65535, description: "what pods may send at once, in bytes; the underlay's unless set" },
  },
};

/** The config or a peer is wrong; anything else that is thrown would be a fault of this plugin. */
const invalid = (text) => ({ tag: "invalid", val: text });
/** A normal answer: not in these circumstances. */
const unsuitable = (text) => ({ tag: "unsuitable", val: text });

/** The option MTU, or null. */
function readMtu(section, text) {
  let options;
  try {
    options = JSON.parse(text);
  } catch (error) {
    throw invalid(`${section} is not JSON: ${error.message}`);
  }
  if (options === null || typeof options !== "object" || Array.isArray(options)) {
    throw invalid(`${section} must be an object`);
  }
  const mtu = options.MTU ?? null;
  if (mtu !== null && !(Number.isInteger(mtu) && mtu >= 576 && mtu <= 65535)) {
    throw invalid(`${section}.MTU must be a whole number from 576 to 65535, not ${JSON.stringify(mtu)}`);
  }
  return mtu;
}

export const backendApi = {
  describe() {
    return {
      name: "@name@",
      version: "0.1.0",
      summary: "plain routes to peers on the same link",
      optionsSchema: JSON.stringify(OPTIONS_SCHEMA),
    };
  },

  /** What peers and this node itself are told: here the options alone, checked before anything is changed. */
  advertise(network, node, options, previous, existing) {
    const mtu = readMtu("Backend", options);
    return { backend: "@name@", options: JSON.stringify(mtu === null ? {} : { MTU: mtu }), dataV4: null, dataV6: null };
  },

  /** No link and no address of our own; only the size of packets. */
  local(context) {
    const underlay = context.node.underlay.mtu;
    const mtu = readMtu("this node's options", context.way.options) ?? underlay;
    return { items: [], podMtu: Math.min(mtu, underlay) };
  },

  /** The peer is the gateway to its own subnet, if the kernel reaches it without a router. */
  sendTo(context, peer, over, road) {
    const to = peer.subnets.v4;
    const via = peer.public.v4;
    if (to == null || via == null) {
      throw unsuitable("the peer has no IPv4 subnet and address");
    }
    if (road.v4 !== "on-link") {
      throw unsuitable(`${via} is not on this link`);
    }
    return [{ tag: "route", val: { to, via, on: { tag: "underlay" }, onlink: false, scopeGlobal: false, mtu: null } }];
  },

  /** Plain packets arrive by themselves. */
  receiveFrom(context, peer) {
    return [];
  },
};
