"""The plan, item by item, on plain Python with the bindings that componentize-py writes."""

import json
import unittest

from app import BackendApi
from componentize_py_types import Err
from wit_world.exports.backend_api import (
    Context,
    Device_Link,
    Device_Underlay,
    Hop,
    Item_Endpoint,
    Item_Link,
    Item_Route,
    Item_Sender,
    Network,
    Node,
    Refusal_Invalid,
    Refusal_Unsuitable,
    Road,
    Underlay,
)
from wit_world.imports.types import Addresses, Lease, Lifetime_Seconds, Prefixes

NETWORK = Network(ranges=["10.10.0.0/16"], backend="nearby")


def road(v4):
    return Road(v4=v4, v6=Hop.UNREACHABLE)


def node(number, mtu=1500):
    underlay = Underlay(name="eth0", mtu=mtu, addresses=["fe80::1/64", f"10.98.0.{number}/24"])
    return Node(id=f"node-{number}", underlay=underlay, public=Addresses(v4=f"10.98.0.{number}", v6=None), seed="07" * 32, keys=[])


def lease(number, way):
    return Lease(
        subnets=Prefixes(v4=f"10.10.{number}.0/24", v6=None),
        public=Addresses(v4=f"10.98.0.{number}", v6=None),
        ways=[way],
        node=f"node-{number}",
        life=Lifetime_Seconds(86400),
    )


class Plans(unittest.TestCase):
    def setUp(self):
        self.backend = BackendApi()
        self.way = self.advertise("{}")

    def advertise(self, options):
        return self.backend.advertise(NETWORK, node(1), options, None, [])

    def context(self, mtu=1500):
        return Context(network=NETWORK, node=node(1, mtu), mine=lease(1, self.way), way=self.way, primary=True)

    def send(self, v4, options='{"Port": 9000}'):
        way = self.advertise(options)
        return self.backend.send_to(self.context(), lease(2, way), way, road(v4))

    def refusal(self, ask):
        with self.assertRaises(Err) as refused:
            ask()
        return refused.exception.value

    def test_the_tunnel_is_there_whoever_the_peers_are(self):
        base = self.backend.local(self.context())
        [link, address] = base.items
        self.assertIsInstance(link, Item_Link)
        self.assertEqual((link.value.mtu, link.value.kind.value.port, link.value.kind.value.local.v4), (1472, 8290, "10.98.0.1"))
        self.assertEqual((address.value.address, base.pod_mtu), ("10.10.1.0/32", 1472))

    def test_a_peer_on_the_link_takes_a_plain_route(self):
        [item] = self.send(Hop.ON_LINK)
        self.assertIsInstance(item, Item_Route)
        self.assertEqual((item.value.to, item.value.via, item.value.on), ("10.10.2.0/24", "10.98.0.2", Device_Underlay()))

    def test_a_peer_behind_a_router_takes_the_tunnel_to_the_port_that_it_publishes(self):
        [endpoint, route] = self.send(Hop.ROUTED)
        self.assertIsInstance(endpoint, Item_Endpoint)
        self.assertEqual((endpoint.value.peer, endpoint.value.port), ("10.98.0.2", 9000))
        self.assertEqual((route.value.to, route.value.on), ("10.10.2.0/24", Device_Link("tunnel")))

    def test_datagrams_of_every_peer_are_let_in(self):
        [item] = self.backend.receive_from(self.context(), lease(2, self.way))
        self.assertIsInstance(item, Item_Sender)
        self.assertEqual(item.value.inner, ["10.10.2.0/24", "10.98.0.2/32"])

    def test_refusals_say_why(self):
        self.assertEqual(self.refusal(lambda: self.send(Hop.UNREACHABLE)), Refusal_Unsuitable("there is no road to 10.98.0.2"))
        self.assertIsInstance(self.refusal(lambda: self.backend.local(self.context(mtu=600))), Refusal_Unsuitable)
        for wrong in ["[]", "{", '{"Port": 0}', '{"Port": true}', '{"Port": "x"}']:
            refusal = self.refusal(lambda options=wrong: self.advertise(options))
            self.assertIsInstance(refusal, Refusal_Invalid, wrong)
            self.assertIn("Backend", refusal.value)

    def test_the_description_is_json(self):
        self.assertEqual(json.loads(self.backend.describe().options_schema)["type"], "object")


if __name__ == "__main__":
    unittest.main()
