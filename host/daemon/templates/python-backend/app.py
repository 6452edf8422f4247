"""The backend "@name@": plain routes to peers on the same link.

It plans, and nothing else: the daemon asks once what there is on this node in any case (local), then about one peer at a time, checks what comes back
against its policy and makes the kernel so. Same arguments, same answer.
"""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.backend_api import Base, Device_Underlay, Hop, Item_Route, Refusal_Invalid, Refusal_Unsuitable, Route
from wit_world.imports.types import About, Way

OPTIONS_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "Type": {"const": "@name@"},
        "MTU": {
            "type": "integer",
            "minimum": 576,
            "maximum": 65535,
            "description": "what pods may send at once, in bytes; the underlay's unless set",
        },
    },
}


def invalid(text):
    """The config or a peer is wrong; any other exception would be a fault of this plugin."""
    return Err(Refusal_Invalid(text))


def unsuitable(text):
    """A normal answer: not in these circumstances."""
    return Err(Refusal_Unsuitable(text))


def read_mtu(section, text):
    """The option MTU, or None."""
    try:
        options = json.loads(text)
    except ValueError as error:
        raise invalid(f"{section} is not JSON: {error}") from None
    if not isinstance(options, dict):
        raise invalid(f"{section} must be an object")
    mtu = options.get("MTU")
    if mtu is None:
        return None
    if isinstance(mtu, bool) or not isinstance(mtu, int) or not 576 <= mtu <= 65535:
        raise invalid(f"{section}.MTU must be a whole number from 576 to 65535, not {json.dumps(mtu)}")
    return mtu


class BackendApi(exports.BackendApi):
    def describe(self):
        return About(
            name="@name@",
            version="0.1.0",
            summary="plain routes to peers on the same link",
            options_schema=json.dumps(OPTIONS_SCHEMA),
        )

    def advertise(self, network, node, options, previous, existing):
        """What peers and this node itself are told: here the options alone, checked before anything is changed."""
        mtu = read_mtu("Backend", options)
        kept = {} if mtu is None else {"MTU": mtu}
        return Way(backend="@name@", options=json.dumps(kept), data_v4=None, data_v6=None)

    def local(self, context):
        """No link and no address of our own; only the size of packets."""
        underlay = context.node.underlay.mtu
        mtu = read_mtu("this node's options", context.way.options) or underlay
        return Base(items=[], pod_mtu=min(mtu, underlay))

    def send_to(self, context, peer, over, road):
        """The peer is the gateway to its own subnet, if the kernel reaches it without a router."""
        to, via = peer.subnets.v4, peer.public.v4
        if to is None or via is None:
            raise unsuitable("the peer has no IPv4 subnet and address")
        if road.v4 != Hop.ON_LINK:
            raise unsuitable(f"{via} is not on this link")
        return [Item_Route(Route(to=to, via=via, on=Device_Underlay(), onlink=False, scope_global=False, mtu=None))]

    def receive_from(self, context, peer):
        """Plain packets arrive by themselves."""
        return []
