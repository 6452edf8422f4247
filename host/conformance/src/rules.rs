//! The rules: name, demand, and what to do when it is broken. The demands are the contract's (`wit/`); each names where.

/// One rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// What reports call it.
    pub name: &'static str,
    /// What it demands, as a half sentence about the plugin.
    pub demands: &'static str,
    /// What to do when it is broken.
    pub advice: &'static str,
}

macro_rules! rules {
    ($($world:ident { $($constant:ident = $name:literal, $demands:literal, $advice:literal;)* })*) => {
        $($(
            #[doc = concat!("A plugin ", $demands, ".")]
            pub const $constant: Rule = Rule { name: $name, demands: $demands, advice: $advice };
        )*)*

        /// All rules with the world that they are put to: "any", "backend" or "store".
        pub const ALL: &[(&str, Rule)] = &[$($((stringify!($world), $constant),)*)*];
    };
}

rules! {
    any {
        LOADS = "loads", "is a component of one world, and imports no more than that world gives",
            "build it against wit/0.1.0 for the world \"backend\" or \"store\"; `twill plugin inspect` shows its imports";
        DESCRIBES_ITSELF = "describes-itself", "says its name, its version, what it does in one line, and its options as a JSON Schema",
            "return name (a-z 0-9 -), version (1.2.3), a summary of one line, and a schema of type \"object\" from `describe`";
        REFUSES_WRONG_OPTIONS = "refuses-wrong-options", "refuses options that its own schema forbids, before anything is changed",
            "check every option in `advertise` (stores: `configure`) and answer `invalid` with its name and what would be right";
    }
    backend {
        ADVERTISES = "advertises", "publishes a way of its own type, with its options and data as JSON",
            "return a way whose `backend` is the name of `describe` and whose `options` is a JSON object (\"{}\" for none)";
        KEEPS_ITS_WAY = "keeps-its-way", "publishes the same way again when it is given the one that it published last",
            "take MACs, keys and the like from `previous`, then from `existing`, and only then make new ones from `node.seed`";
        KEEPS_SECRETS = "keeps-secrets", "never shows the node's seed",
            "derive from `node.seed` by a hash or a few of its bytes, and neither publish nor log the seed itself";
        REPEATABLE = "repeatable", "gives the same answer when it is asked the same question twice",
            "keep nothing between calls that changes an answer: no counters, no caches filled by other questions";
        SAME_EVERYWHERE = "same-everywhere", "gives the same answers in another instance, at another time, with other random numbers, in another order",
            "use neither clock nor random numbers, and do not iterate over unordered collections";
        LAWFUL = "lawful", "plans only what the host's policy lets through",
            "plan links in `local` only, addresses inside the own subnet, routes inside the peer's subnets by its own addresses (wit/0.1.0/backend.wit, \"The policy\")";
        BEARS_ANY_PEER = "bears-any-peer", "answers or refuses whatever a peer has published, and never fails",
            "treat what peers publish as foreign input: answer `invalid` with what is wrong, never panic, throw or loop";
        POD_MTU = "pod-mtu", "promises an MTU for pods that fits onto the underlay",
            "subtract the header of your encapsulation from `node.underlay.mtu`, in the tightest family";
        QUICK = "quick", "plans for five thousand peers in the time that the host gives it",
            "do per peer only what depends on the peer: parse options once, build no large tables; or name a longer time with --within";
    }
    store {
        CONDITIONAL_CONFIG = "conditional-config", "keeps the config byte for byte, and changes it only for who knows the last one",
            "write with a condition on what was there (create if absent, replace if unchanged); answer `conflict` otherwise";
        ONE_WINNER = "one-winner", "gives a subnet to one node only, however many claim it at once",
            "make the choice atomic in the store itself (create if absent, a transaction, a script), never by reading first and writing then";
        NO_OVERLAP = "no-overlap", "never gives out a subnet that overlaps somebody's lease",
            "compare ranges and not keys: 10.1.2.0/23 and 10.1.3.0/24 are the same addresses";
        CLAIM_AGAIN = "claim-again", "finds the node's own lease when a claim is repeated, as after a lost answer",
            "a candidate that the wish's node holds already counts as free: return it with a new token";
        KEEPS_LEASES = "keeps-leases", "gives back each lease as it was written, byte for byte",
            "store ways, options and data as the texts they are; do not parse and print JSON again";
        ADOPTS_ITS_OWN = "adopts-its-own", "lets a node take up its own lease again, and nobody else's",
            "`adopt`: compare the stored owner with `mine.node`; `conflict` for another's, `not-found` when it is gone";
        STALE_TOKEN = "stale-token", "refuses a write whose token is not the last one",
            "make every write conditional on the token's revision, and answer with a new token";
        RELEASES = "releases", "takes a lease back, calmly a second time, and not for who no longer holds it",
            "`release`: success when it is gone already, `conflict` when another holds it";
        WATCH_IN_ORDER = "watch-in-order", "tells what changes after the cursor, each lease's changes in their order, to its end",
            "keep a log of changes with a number each, and let the cursor be the last number told";
        WATCH_RESUMES = "watch-resumes", "goes on from a cursor in any instance, or says that it lost its place",
            "keep nothing but connections in the instance: the cursor alone must say where to go on";
        WATCH_WAITS = "watch-waits", "waits as long as it is told, and wakes for a change",
            "return as soon as there is news, or with none after `wait-ms`; 0 only looks";
        LOST_CURSOR = "lost-cursor", "says so when it cannot go on from a cursor",
            "answer `lost-cursor` for a cursor that is not yours or too old; the host reads everything again";
        TERMS_END = "terms-end", "ends a lease when its term is over, not earlier, and tells it",
            "let the store's own clock end leases, and tell `gone` for each when it happens";
        RESERVATIONS = "reservations", "pins a subnet to a node until that is taken back",
            "`reserve` without a term, for the node with that public address; or say `reserves: false` and answer `unsupported`";
        RETRY_WHEN_AWAY = "retry-when-away", "says \"retry\" while its server or directory is away",
            "map unreachable, timed-out and broken-off to `retry`; the host goes on with what it knows";
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_rule_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = ALL.iter().map(|(_, rule)| rule.name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
