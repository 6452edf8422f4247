"""The backend "nearby": plain routes to peers on the same link, a UDP tunnel to all others. In Python, by componentize-py.

A cluster over several racks has the speed of routing inside a rack and needs no router's help between them. flannel has this for vxlan alone (DirectRouting).
IPv4 only. Every peer may send by either road, so datagrams are let in from all of them.
"""

import ipaddress
import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.backend_api import (
    Assignment,
    Base,
    Device_Link,
    Device_Underlay,
    Endpoint,
    Hop,
    Item_Assignment,
    Item_Endpoint,
    Item_Link,
    Item_Route,
    Item_Sender,
    Link,
    LinkKind_Tunnel,
    Refusal_Invalid,
    Refusal_Unsuitable,
    Route,
    Sender,
    Tunnel,
)
from wit_world.imports.types import About, Addresses, Way

NAME = "nearby"
VERSION = "1.0.0"
DEFAULT_PORT = 8290
# Outer IPv4 header (20 bytes) and UDP header (8 bytes).
OVERHEAD = 28
# The least that a packet of IPv4 may be cut to on any link (RFC 791), and the least that twill's policy allows.
LEAST_MTU = 576
TUNNEL = "tunnel"

OPTIONS_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "Type": {"const": NAME},
        "Port": {
            "type": "integer",
            "minimum": 1,
            "maximum": 65535,
            "default": DEFAULT_PORT,
            "description": "UDP port of the tunnel, source and destination",
        },
    },
}


def invalid(text):
    return Err(Refusal_Invalid(text))


def unsuitable(text):
    return Err(Refusal_Unsuitable(text))


def read_port(section, text):
    """The option Port; DEFAULT_PORT when it is absent."""
    try:
        options = json.loads(text)
    except ValueError as error:
        raise invalid(f"{section} is not JSON: {error}") from None
    if not isinstance(options, dict):
        raise invalid(f"{section} must be an object")
    port = options.get("Port")
    if port is None:
        return DEFAULT_PORT
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        raise invalid(f"{section}.Port must be a whole number from 1 to 65535, not {json.dumps(port)}")
    return port


def v4(of, what):
    """The IPv4 member of a pair, or why there is no plan."""
    if of.v4 is None:
        raise unsuitable(f"{what} has no IPv4")
    return of.v4


def interface_address(node):
    """The interface's own address: the public one if it is there, else (behind NAT) the first."""
    own = [net.split("/")[0] for net in node.underlay.addresses if ":" not in net]
    if not own:
        raise unsuitable(f"{node.underlay.name} has no IPv4 address")
    return node.public.v4 if node.public.v4 in own else own[0]


class BackendApi(exports.BackendApi):
    def describe(self):
        summary = "plain routes to peers on the same link, a UDP tunnel to all others"
        return About(name=NAME, version=VERSION, summary=summary, options_schema=json.dumps(OPTIONS_SCHEMA))

    def advertise(self, network, node, options, previous, existing):
        port = read_port("Backend", options)
        v4(node.public, "this node's public address")
        return Way(backend=NAME, options=json.dumps({"Port": port}), data_v4=None, data_v6=None)

    def local(self, context):
        mtu = context.node.underlay.mtu - OVERHEAD
        if mtu < LEAST_MTU:
            raise unsuitable(f"{context.node.underlay.name}'s MTU of {context.node.underlay.mtu} leaves no room for packets in UDP")
        port = read_port("this node's options", context.way.options)
        kind = LinkKind_Tunnel(Tunnel(port=port, local=Addresses(v4=interface_address(context.node), v6=None)))
        base = ipaddress.ip_network(v4(context.mine.subnets, "this node's subnet")).network_address
        link = Link(handle=TUNNEL, name="nearby%d", kind=kind, mtu=mtu, mac=None)
        return Base(items=[Item_Link(link), Item_Assignment(Assignment(on=TUNNEL, address=f"{base}/32"))], pod_mtu=mtu)

    def send_to(self, context, peer, over, road):
        to, outer = v4(peer.subnets, "the peer's subnet"), v4(peer.public, "the peer's public address")
        if road.v4 == Hop.ON_LINK:
            return [Item_Route(Route(to=to, via=outer, on=Device_Underlay(), onlink=False, scope_global=False, mtu=None))]
        if road.v4 == Hop.UNREACHABLE:
            raise unsuitable(f"there is no road to {outer}")
        port = read_port("the peer's options", over.options)
        return [
            Item_Endpoint(Endpoint(on=TUNNEL, to=to, peer=outer, port=port)),
            Item_Route(Route(to=to, via=None, on=Device_Link(TUNNEL), onlink=False, scope_global=True, mtu=None)),
        ]

    def receive_from(self, context, peer):
        subnet, outer = peer.subnets.v4, peer.public.v4
        if subnet is None or outer is None:
            return []
        return [Item_Sender(Sender(on=TUNNEL, peer=outer, inner=[subnet, f"{outer}/32"]))]
