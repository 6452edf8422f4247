"""The plugin's own tests, on plain Python: `make test` writes the bindings (types alone, no WebAssembly) and runs them."""

import unittest

from app import BackendApi
from componentize_py_types import Err
from wit_world.exports.backend_api import Context, Hop, Item_Route, Network, Node, Refusal_Invalid, Refusal_Unsuitable, Road, Underlay
from wit_world.imports.types import Addresses, Lease, Lifetime_Seconds, Prefixes

NETWORK = Network(ranges=["10.10.0.0/16"], backend="@name@")
ON_LINK = Road(v4=Hop.ON_LINK, v6=Hop.UNREACHABLE)
ROUTED = Road(v4=Hop.ROUTED, v6=Hop.UNREACHABLE)


def node(number):
    underlay = Underlay(name="eth0", mtu=1500, addresses=[f"10.98.0.{number}/24"])
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

    def way(self, options="{}"):
        return self.backend.advertise(NETWORK, node(1), options, None, [])

    def context(self, way):
        return Context(network=NETWORK, node=node(1), mine=lease(1, way), way=way, primary=True)

    def test_a_peer_on_the_link_is_the_gateway_to_its_subnet(self):
        way = self.way()
        [item] = self.backend.send_to(self.context(way), lease(2, way), way, ON_LINK)
        self.assertIsInstance(item, Item_Route)
        self.assertEqual((item.value.to, item.value.via), ("10.10.2.0/24", "10.98.0.2"))

    def test_a_peer_behind_a_router_is_for_another_way(self):
        way = self.way()
        with self.assertRaises(Err) as refused:
            self.backend.send_to(self.context(way), lease(2, way), way, ROUTED)
        self.assertEqual(refused.exception.value, Refusal_Unsuitable("10.98.0.2 is not on this link"))

    def test_an_mtu_that_is_none_is_refused_by_name(self):
        self.assertEqual(self.backend.local(self.context(self.way('{"MTU": 1400}'))).pod_mtu, 1400)
        with self.assertRaises(Err) as refused:
            self.way('{"MTU": "much"}')
        self.assertIsInstance(refused.exception.value, Refusal_Invalid)
        self.assertIn("Backend.MTU", refused.exception.value.value)


if __name__ == "__main__":
    unittest.main()
