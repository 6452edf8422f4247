//! The lab: a cluster of real twill daemons on one machine, made of namespaces that end with the process that made them.
//!
//! A test reads like a story: `let lab = Lab::new("three nodes")?; lab.network("10.50.0.0/16")?; let a = lab.ready_node("a")?; let pod = a.pod("p1")?; …`.
//! [`world`] moves the process into namespaces of its own, [`harness`] runs each test in such a process. Nothing here fakes a part of twill.

pub mod api;
pub mod artifacts;
pub mod authority;
pub mod browser;
pub mod cgroups;
pub mod cluster;
pub mod containers;
pub mod daemon;
pub mod etcd;
pub mod flannel;
pub mod growth;
pub mod harness;
pub mod inject;
pub mod machine;
pub mod netns;
pub mod node;
pub mod packet;
pub mod pod;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod random;
pub mod session;
pub mod stream;
pub mod transfer;
pub mod trickle;
pub mod view;
pub mod wait;
pub mod world;

pub use cluster::Lab;
pub use containers::Docker;
pub use daemon::{Barrier, Launch};
pub use growth::growth;
pub use node::Node;
pub use pod::Pod;
pub use random::Random;
pub use session::Session;
pub use stream::Stream;
pub use trickle::Trickle;
pub use wait::{poll, wait_until};
