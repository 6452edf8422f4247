//! What can go wrong in a plugin: it does not come back, takes what it can get, or answers with nonsense.

use std::hint;

use twill_guest::backend::{Addresses, Level, log};
use twill_guest::backend::{Assignment, Device, Endpoint, Item, Link, LinkKind, Route, Tunnel};

/// How many items `many-items` answers with.
const MANY: u32 = 100_000;
/// How many lines `floods` writes.
const LINES: u32 = 1_000_000;

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misdeed {
    /// Nothing does.
    None,
    /// A panic.
    Traps,
    /// A loop without end.
    Loops,
    /// Memory without end.
    Grows,
    /// Calls itself without end.
    Recurses,
    /// Computes for ten minutes, with a word to the host now and then.
    Slow,
    /// An item of 40 MB.
    Huge,
    /// A million lines of log, then the right answer.
    Floods,
    /// Prefixes that are none.
    BadPrefix,
    /// A default route.
    DefaultRoute,
    /// Routes to places outside the network.
    OutsideRoute,
    /// Links and addresses of others.
    ForeignLink,
    /// A hundred thousand items, each good in itself.
    ManyItems,
}

/// What the variant does that was built.
pub const BUILT_IN: Misdeed = if cfg!(feature = "traps") {
    Misdeed::Traps
} else if cfg!(feature = "loops") {
    Misdeed::Loops
} else if cfg!(feature = "grows") {
    Misdeed::Grows
} else if cfg!(feature = "recurses") {
    Misdeed::Recurses
} else if cfg!(feature = "slow") {
    Misdeed::Slow
} else if cfg!(feature = "huge") {
    Misdeed::Huge
} else if cfg!(feature = "floods") {
    Misdeed::Floods
} else if cfg!(feature = "bad-prefix") {
    Misdeed::BadPrefix
} else if cfg!(feature = "default-route") {
    Misdeed::DefaultRoute
} else if cfg!(feature = "outside-route") {
    Misdeed::OutsideRoute
} else if cfg!(feature = "foreign-link") {
    Misdeed::ForeignLink
} else if cfg!(feature = "many-items") {
    Misdeed::ManyItems
} else {
    Misdeed::None
};

impl Misdeed {
    /// By the name of its cargo feature; anything else is none.
    pub fn named(name: &str) -> Self {
        match name {
            "traps" => Misdeed::Traps,
            "loops" => Misdeed::Loops,
            "grows" => Misdeed::Grows,
            "recurses" => Misdeed::Recurses,
            "slow" => Misdeed::Slow,
            "huge" => Misdeed::Huge,
            "floods" => Misdeed::Floods,
            "bad-prefix" => Misdeed::BadPrefix,
            "default-route" => Misdeed::DefaultRoute,
            "outside-route" => Misdeed::OutsideRoute,
            "foreign-link" => Misdeed::ForeignLink,
            "many-items" => Misdeed::ManyItems,
            _ => Misdeed::None,
        }
    }

    /// Does what is not an answer.
    pub fn act(self) {
        match self {
            Misdeed::Traps => panic!("hostile: trapping as asked"),
            Misdeed::Loops => loop {
                hint::spin_loop();
            },
            Misdeed::Grows => loop {
                hint::black_box(vec![1u8; 1 << 20].leak());
            },
            Misdeed::Recurses => {
                hint::black_box(deeper(1));
            }
            Misdeed::Slow => loop {
                (0..5_000_000u32).for_each(|step| {
                    hint::black_box(step);
                });
                log::write(Level::Trace, "hostile: still at it");
            },
            Misdeed::Floods => (0..LINES).for_each(|line| log::write(Level::Info, &format!("hostile: line {line}"))),
            _ => {}
        }
    }

    /// The nonsense to answer with.
    pub fn items(self) -> Vec<Item> {
        match self {
            Misdeed::BadPrefix => ["10.10.26.0/33", "300.1.2.0/24", "10.10.26.7/24", "", "10.10.26.0"].map(|to| route(to, tun())).into(),
            Misdeed::DefaultRoute => ["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "::/0"].map(|to| route(to, tun())).into(),
            Misdeed::OutsideRoute => {
                vec![route("192.0.2.0/24", tun()), route("169.254.169.254/32", tun()), route("8.8.8.8/32", Device::Underlay)]
            }
            Misdeed::ForeignLink => vec![link("eth0"), link("lo"), address("eth0"), route("10.10.26.0/24", Device::Link("eth0".into()))],
            Misdeed::ManyItems => (0..MANY).map(endpoint).collect(),
            Misdeed::Huge => vec![route(&"1".repeat(40_000_000), tun())],
            _ => vec![],
        }
    }
}

/// Never comes to an end.
#[allow(unconditional_recursion, reason = "that is its misdeed")]
fn deeper(level: u64) -> u64 {
    hint::black_box(deeper(hint::black_box(level) + 1)) + level
}

/// Gives every tunnel another port, which no kernel can change on a link that is there.
pub fn move_ports(items: &mut [Item]) {
    for item in items {
        if let Item::Link(Link { kind: LinkKind::Tunnel(tunnel), .. }) = item {
            tunnel.port += 1;
        }
    }
}

fn tun() -> Device {
    Device::Link("tun".into())
}

fn route(to: &str, on: Device) -> Item {
    Item::Route(Route::via(to.into(), None, on))
}

fn link(name: &str) -> Item {
    let kind = LinkKind::Tunnel(Tunnel { port: 8285, local: Addresses { v4: None, v6: None } });
    Item::Link(Link { handle: name.into(), name: name.into(), kind, mtu: 1500, mac: None })
}

fn address(on: &str) -> Item {
    Item::Assignment(Assignment { on: on.into(), address: "10.10.26.1/32".into() })
}

fn endpoint(number: u32) -> Item {
    let to = format!("10.{}.{}.{}/32", 64 + (number >> 16), (number >> 8) & 255, number & 255);
    Item::Endpoint(Endpoint { on: "tun".into(), to, peer: "192.0.2.1".into(), port: 8285 })
}
